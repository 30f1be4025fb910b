"""The night as its images grow: its time against linear, and the memory of its process.

    python bench/night_growth.py [1000 10000 100000]

Three tiny models and generated JPEGs of 96 x 96, so that what Loupe adds to decoding and models
weighs most. All shards of a night in a process of its own, which loads no torch, as `loupe predict`
does it. The table goes into RESULTS.md.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from ml.inference.batch import predict_shards
from ml.inference.night import find_plan
from ml.settings import Home

DAYS = "2026-02"
SIDE = 96
BATCH = 16
THREADS = os.cpu_count() or 1


def prepare(day: str, count: int) -> Path:
    """The home with the images of a day and its plan; made once."""
    from night_line import add_images, make_home, make_line

    from ml.data import catalog
    from ml.inference.night import plan_night

    line = make_line("light")
    home = make_home(line)
    if catalog.count_images(home, line.name)[day] != count:
        add_images(home, line, day, count, size=(SIDE, SIDE))
    plan_night(home, line, day)
    return Path(home.root)


def night(root: str, day: str) -> dict[str, float]:
    """What a night takes, from opening the models to the last commit."""
    plan = find_plan(Home(Path(root)), "light", day)
    assert plan is not None
    started, used = time.perf_counter(), time.process_time()
    done = predict_shards(Home(Path(root)), plan, range(len(plan.sizes)), BATCH, THREADS)
    status = dict(row.split(":", 1) for row in Path("/proc/self/status").read_text().splitlines())
    return {
        "images": done.images,
        "seconds": time.perf_counter() - started,
        "cpu_s": time.process_time() - used,
        "peak_mb": int(status["VmHWM"].split()[0]) / 1024,
    }


def main(counts: list[int]) -> None:
    """Measure and write the table."""
    from result_tables import put

    first = None
    for number, count in enumerate(counts):
        day = f"{DAYS}-{number + 1:02d}"
        command = [sys.executable, __file__, "--one", str(prepare(day, count)), day]
        quiet = os.environ | {"LOUPE_PROGRESS": "off"}
        output = subprocess.run(command, env=quiet, stdout=subprocess.PIPE, check=True).stdout
        found = json.loads(output.splitlines()[-1])
        first = first or found
        more = found["images"] / first["images"]
        times = [found[key] / first[key] / more for key in ("seconds", "cpu_s")]
        cells = [
            f"{count}",
            f"{count / found['seconds']:.0f}",
            f"{found['seconds']:.1f}",
            f"{times[0]:.2f} / {times[1]:.2f}",
            f"{found['peak_mb']:.0f}",
            f"{found['peak_mb'] / first['peak_mb']:.2f}",
        ]
        put("night growth", "| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(night(*sys.argv[2:])))
    else:
        main([int(one) for one in sys.argv[1:]] or [1_000, 10_000, 100_000])
