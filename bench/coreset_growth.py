"""PatchCore's fit as its images grow: its time against linear, and the memory of its process.

    python bench/coreset_growth.py [1000 8000 64000]

Generated JPEGs of 64 x 64 and MobileNetV2 with random weights, a bank of 1,000 patches; each fit is
that of `loupe train`, from the first image read to the bank, in a process of its own. The table
goes into RESULTS.md.
"""

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
from result_tables import put

from ml.data.dataset import Dataset, Sample
from ml.settings import Home, LineConfig

PROJECT = Path(__file__).parents[1]
ROOT = PROJECT / ".loupe-bench" / "coreset"
SIDE, BANK, THREADS = 64, 1000, 2
WHEN = datetime(2026, 2, 1, tzinfo=UTC)


def make_line() -> LineConfig:
    """An anomaly model alone."""
    settings = {
        "name": "coreset",
        "title": "Generated parts",
        "models": ("anomaly",),
        "source": {"uri": "generated", "layout": {"kind": "masks"}},
        "backbone": {"name": "mobilenetv2_100", "weights": "none"},
        "anomaly": {"size": (SIDE, SIDE), "strides": (8, 16), "bank": BANK},
    }
    return LineConfig.model_validate(settings)


def add_images(home: Home, count: int) -> None:
    """Make images until `count` are there; `images.txt` names them."""
    from night_line import store  # with libraries that the measured process shall not load

    path = home.root / "images.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    there = len(path.read_text().split()) if path.exists() else 0
    with path.open("a") as names:
        for number in range(there, count):
            random = np.random.default_rng(number)
            coarse = random.integers(40, 200, (4, 4, 3), dtype=np.uint8)
            image = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
            image += random.integers(0, 30, image.shape, dtype=np.uint8)
            names.write(store(home, cv2.imencode(".jpg", image)[1].tobytes()) + "\n")


def fit(count: int) -> dict[str, float]:
    """Seconds of a fit on so many images, and the peak of its process."""
    from ml.training.anomaly import fit_anomaly

    home, line = Home(ROOT), make_line()
    names = (ROOT / "images.txt").read_text().split()[:count]
    samples = tuple(
        Sample(name, "train", name, "ok", "", "", name, "", "", WHEN, "2026-02-01")
        for name in names
    )
    started = time.perf_counter()
    _, facts = fit_anomaly(home, line, Dataset("generated", samples, {}), THREADS)
    seconds = time.perf_counter() - started
    status = dict(row.split(":", 1) for row in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) / 1024
    return {"seconds": seconds, "peak_mb": peak, "candidates": facts["candidates"]}


def main(counts: list[int]) -> None:
    """Measure and write the table."""
    first = None
    for count in counts:
        add_images(Home(ROOT), count)
        command = [sys.executable, __file__, "--one", str(count)]
        # As the `loupe` command sets it.
        quiet = os.environ | {"LOUPE_PROGRESS": "off", "OMP_WAIT_POLICY": "passive"}
        output = subprocess.run(command, env=quiet, stdout=subprocess.PIPE, check=True).stdout
        found = json.loads(output.splitlines()[-1]) | {"images": count}
        first = first or found
        linear = first["seconds"] * count / first["images"]
        cells = [
            f"{count}",
            f"{found['candidates']}",
            f"{found['seconds']:.0f}",
            f"{found['seconds'] / linear:.2f}",
            f"{found['peak_mb']:.0f}",
            f"{found['peak_mb'] / first['peak_mb']:.2f}",
        ]
        put("coreset growth", "| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(fit(int(sys.argv[2]))))
    else:
        main([int(one) for one in sys.argv[1:]] or [1_000, 8_000, 64_000])
