"""The steps of a night of one new image, as the catalog grows: time and memory of each command.

    python bench/catalog_growth.py [0 150000 1500000]

The catalog is filled with made-up images, days of 100,000, each with its prediction and its
night's document. Then the commands of a night run for one new image, each in a process of its
own; memory is the peak of that process. `idle` is an ingest that finds nothing new, `burst` the
last of 120 small batches that are written one by one. The table goes into RESULTS.md.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
ROOT = PROJECT / ".loupe-bench" / "catalog_growth"
LINE = "growth"
A_DAY = 100_000
TODAY = "2026-03-01"
BURSTS = 120
STEPS = ("ingest", "validate", "shards", "predict", "publish", "reconcile", "idle")

CONFIG = """
name = "growth"
title = "A line with history"
[source]
uri = "{source}"
[source.layout]
kind = "class_folders"
days = "%Y-%m-%d/"
pattern = '(?P<part>p\\d+)_(?P<captured_at>\\d{{8}}T\\d{{6}})'
"""


def fill(rows: int) -> None:
    """A history of so many images: what the catalog and the results store have after its nights."""
    import pyarrow as pa
    from deltalake import write_deltalake

    from ml.data import catalog, predicted
    from ml.results import open_results
    from ml.settings import Env, Home

    env = Env.read()
    home = Home.of(env)
    store = open_results(env, home)
    for number in range(-(-rows // A_DAY)):
        day = (date.fromisoformat(TODAY) - timedelta(days=number + 2)).isoformat()
        at = datetime.fromisoformat(f"{day}T06:00:00+00:00")
        names = [f"{number:04d}{i:07d}" for i in range(min(A_DAY, rows - number * A_DAY))]
        shared = {
            "object": [f"{day}/ok/p{name}_20250101T000000.png" for name in names],
            "sha256": [hashlib.sha256(name.encode()).hexdigest() for name in names],
            "part": [f"p{name}" for name in names],
        }
        every = {"day": day, "captured_at": at, "lot": "", "camera": ""}
        seen = {"version": "2000-1767225600000000000", "status": "accepted", "bytes": 1000}
        said = {"shard": 0, "bundle": "b", "verdict": "pass", "reason": ""}
        image = every | seen | {"reason": "", "width": 32, "height": 32, "batch": f"b{day}"}
        for name, schema, values in (
            ("images", catalog.IMAGES, image | {"phash": "0" * 16, "group": "g"}),
            ("predictions", predicted.SCHEMA, every | said),
        ):
            columns = [
                shared.get(field.name)
                or pa.array([values.get(field.name)] * len(names), field.type)
                for field in schema
            ]
            by = ["day"] if name == "predictions" else None
            path = home.table(LINE, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            table = pa.table(columns, schema=schema)
            write_deltalake(str(path), table, mode="append", partition_by=by)
        night = {"line": LINE, "day": day, "images": len(names), "reconciled": True, "shards": 1}
        store.put("nights", {f"{LINE}__{day}": night})


def add_image(source: Path) -> None:
    """One new image of today."""
    import cv2
    import numpy as np

    pixels = np.random.default_rng(1).integers(40, 200, (64, 64, 3)).astype(np.uint8)
    path = source / TODAY / "ok" / f"p1_{TODAY.replace('-', '')}T060000.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


def bursts() -> None:
    """Many batches of five images, as messages bring them; prints the seconds of the last ten."""
    import pyarrow as pa

    from ml.data import catalog
    from ml.settings import Env, Home

    home, times = Home.of(Env.read()), []
    at = datetime(2026, 3, 1, 6, tzinfo=UTC)
    for batch in range(BURSTS):
        rows = [
            {
                "object": f"{TODAY}/ok/burst{batch}-{i}.png",
                "version": "1",
                "sha256": hashlib.sha256(f"{batch} {i}".encode()).hexdigest(),
                "status": "accepted",
                "reason": "",
                "day": TODAY,
                "captured_at": at,
                "batch": f"burst{batch}",
            }
            for i in range(5)
        ]
        started = time.perf_counter()
        catalog.upsert_images(home, LINE, pa.Table.from_pylist(rows, schema=catalog.IMAGES))
        times.append(time.perf_counter() - started)
    print(f"{sum(times[-10:]) / 10:.2f}")


def measure(command: list[str], environ: dict[str, str]) -> tuple[float, float, str]:
    """Seconds and peak MB of a process, and the last line that it printed."""
    started = time.perf_counter()
    child = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{' '.join(command)}: status {child.returncode}")
    lines = output.splitlines() or [""]
    return time.perf_counter() - started, usage.ru_maxrss / 1024, lines[-1]


def main(counts: list[int]) -> None:
    """Measure and write the table."""
    import json

    from result_tables import put

    for count in counts:
        root = ROOT / str(count)
        shutil.rmtree(root, ignore_errors=True)
        source, lines = root / "source", root / "lines"
        lines.mkdir(parents=True)
        (lines / f"{LINE}.toml").write_text(CONFIG.format(source=source))
        environ = os.environ | {
            "LOUPE_HOME": str(root / "home"),
            "LOUPE_LINES": str(lines),
            "LOUPE_PROGRESS": "off",
        }
        measure([sys.executable, __file__, "--fill", str(count)], environ)
        measure([sys.executable, __file__, "--image", str(source)], environ)
        cells, batch = [], ""
        for step in STEPS:
            command = [sys.executable, "-m", "ml.cli", "ingest" if step == "idle" else step]
            command += ["--line", LINE]
            command += ["--batch", batch] if step == "validate" else []
            in_night = step in ("shards", "predict", "publish", "reconcile")
            command += ["--day", TODAY] if in_night else []
            seconds, megabytes, output = measure(command, environ)
            batch = batch or json.loads(output)["batch"]
            cells.append(f"{seconds:.1f} / {megabytes:.0f}")
        _, _, last = measure([sys.executable, __file__, "--bursts"], environ)
        put("catalog growth", f"| {count} | {' | '.join(cells)} | {last} |")
        shutil.rmtree(root)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--fill"]:
        fill(int(sys.argv[2]))
    elif sys.argv[1:2] == ["--image"]:
        add_image(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["--bursts"]:
        bursts()
    else:
        main([int(one) for one in sys.argv[1:]] or [0, 150_000, 1_500_000])
