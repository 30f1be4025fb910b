"""What a shard's commit costs after many nights, with the files of each night put together or not.

    python bench/shard_commits.py

A night of 200 shards of 500 images is written and packed; then the log is filled with as many
made-up nights as the table says, each with the files that such a night of 2,000 shards leaves, and
20 shards of the next night are committed. The table goes into RESULTS.md.
"""

import json
import resource
import shutil
import statistics
import subprocess
import sys
import time
import uuid
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
from result_tables import put

from ml.data import delta, predicted
from ml.settings import Home

ROOT = Path(__file__).resolve().parents[1] / ".loupe-bench" / "shard_commits"
LINE, TODAY = "growth", date(2026, 3, 1)
SHARDS, IMAGES, EMBEDDING = 2000, 500, 128
WRITTEN = 200
NIGHTS = (0, 30, 365)
COMMITS = 20


def shard(number: int, day: str) -> pa.Table:
    """Predictions of one shard."""
    random = np.random.default_rng(number)
    rows = [
        {
            "day": day,
            "shard": number,
            "object": f"{day}/{number}-{image}.jpg",
            "sha256": random.bytes(32).hex(),
            "verdict": "pass",
            "p_defect": float(random.random()),
            "embedding": random.random(EMBEDDING, np.float32).tolist(),
        }
        for image in range(IMAGES)
    ]
    return pa.Table.from_pylist(rows, schema=predicted.SCHEMA)


def files_of(path: Path) -> int:
    return len(delta.open_table(path).file_uris())


def packed(home: Home) -> tuple[int, float]:
    """Files that a night of `SHARDS` shards has when packed, and the seconds of packing it."""
    day = TODAY.isoformat()
    for number in range(WRITTEN):
        predicted.write_shard(home, LINE, day, number, shard(number, day))
    started = time.perf_counter()
    predicted.pack_day(home, LINE, day)
    seconds = time.perf_counter() - started
    more = SHARDS // WRITTEN
    return files_of(home.table(LINE, "predictions")) * more, seconds * more


def commits(home: Home, nights: int, files: int) -> tuple[float, float]:
    """Median and largest milliseconds of a shard's commit after so many nights of so many files."""
    shutil.rmtree(home.root, ignore_errors=True)
    day, path = TODAY.isoformat(), home.table(LINE, "predictions")
    predicted.write_shard(home, LINE, day, 0, shard(0, day))
    log = path / "_delta_log"
    first = [json.loads(row) for row in (log / f"{1:020d}.json").read_text().splitlines()]
    info = next(row for row in first if "commitInfo" in row)
    add = next(row["add"] for row in first if "add" in row)
    for night in range(nights):
        of = (TODAY - timedelta(days=night + 1)).isoformat()
        names = (f"day={of}/part-00000-{uuid.uuid4()}-c000.zstd.parquet" for _ in range(files))
        added = [{"add": add | {"path": name, "partitionValues": {"day": of}}} for name in names]
        rows = "\n".join(map(json.dumps, [info, *added]))
        (log / f"{night + 2:020d}.json").write_text(rows)
    delta.open_table(path).create_checkpoint()
    times = []
    for number in range(1, COMMITS + 1):
        rows = shard(number, day)
        started = time.perf_counter()
        predicted.write_shard(home, LINE, day, number, rows)
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times), max(times)


def main() -> None:
    """Measure and write the table; each row in a process of its own, for its memory."""
    if sys.argv[1:2] == ["--one"]:
        found = commits(Home(ROOT), int(sys.argv[2]), int(sys.argv[3]))
        print(json.dumps([*found, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
        return
    shutil.rmtree(ROOT, ignore_errors=True)
    few, seconds = packed(Home(ROOT))
    for nights in NIGHTS:
        for kind, files, spent in (("as they came", SHARDS, 0.0), ("packed", few, seconds)):
            done = subprocess.run(
                [sys.executable, __file__, "--one", str(nights), str(files)],
                stdout=subprocess.PIPE,
                check=True,
                text=True,
            )
            median, most, peak = json.loads(done.stdout)
            cells = [nights, kind, f"{spent:.0f}", nights * files]
            cells += [f"{one:.0f}" for one in (median, most, peak)]
            put("shard commits", f"| {' | '.join(map(str, cells))} |", key=2)


if __name__ == "__main__":
    main()
