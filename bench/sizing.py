"""What each step of a night does in a second, and how many workers a number of images needs.

    python bench/sizing.py measure [--images 400]    # writes the table of steps into RESULTS.md
    python bench/sizing.py table                     # writes the sizes into deploy/k8s/README.md

`measure` runs the commands on generated images of 1280 x 720, one process and one thread a step, in
a home of its own. `table` is arithmetic on the figures of RESULTS.md: workers = images a day over
(images/s of one worker times the seconds that the step may take).
"""

import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from result_tables import RESULTS, write

PROJECT = Path(__file__).parents[1]
PAGE = PROJECT / "deploy" / "k8s" / "README.md"

DAY = "2026-01-06"
LEARNED = "2026-01-05"
A_DAY = (10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)
# Ingest follows the shifts; the night is what is left, with an hour in hand.
HOURS = {"ingest": 20, "validate": 20, "predict": 6, "publish": 1, "reconcile": 1}
DOLLARS_A_CORE_HOUR = 0.04
SHARD_IMAGES = 500

_LINE = """
name = "sizing"
title = "Sizing"
models = ["classifier", "anomaly"]
[source]
uri = "{source}"
spread = {{ days = 2, start = 2026-01-05 }}
[source.layout]
kind = "class_folders"
[backbone]
name = "resnet18"
weights = "none"
[classifier]
size = [224, 224]
epochs = 1
[anomaly]
size = [224, 224]
strides = [16]
bank = 500
[gate]
min_auroc = 0.0
[night]
shard_images = {shard_images}
"""


def main() -> None:
    """Measure, or work the table out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("measure", "table"))
    parser.add_argument("--images", type=int, default=400)
    options = parser.parse_args()
    if options.what == "measure":
        write("steps", measured(options.images))
    else:
        write("sizes", sizes(read_rates(RESULTS.read_text())), PAGE)


def measured(images: int) -> str:
    """The table of images/s of each step, with the start of its process and without."""
    with tempfile.TemporaryDirectory() as folder:
        environ = make_home(Path(folder), images, SHARD_IMAGES)
        empty = timed(environ, "line", "list")[0]
        ingest, batch = timed(environ, "ingest")
        validate, _ = timed(environ, "validate", "--batch", batch["batch"])
        promote_first_bundle(environ)
        plan = timed(environ, "shards", "--day", DAY)[1]
        predict = sum(
            timed(environ, "predict", "--day", DAY, "--shard", str(shard["shard"]))[0]
            for shard in plan["shards"]
        )
        publish, _ = timed(environ, "publish", "--day", DAY)
        reconcile, _ = timed(environ, "reconcile", "--day", DAY)
    night = plan["images"]
    done = {
        "ingest": (batch["new"], ingest),
        "validate": (batch["new"], validate),
        "predict": (night, predict),
        "publish": (night, publish),
        "reconcile": (night, reconcile),
    }
    rows = [
        f"| {step} | {count} | {seconds:.1f} | {count / seconds:.1f} |"
        for step, (count, seconds) in done.items()
    ]
    head = "| step | images | seconds | images/s |\n| --- | --- | --- | --- |"
    load = os.getloadavg()[0]
    said = f"A step that does nothing took {empty:.1f} s; the load of the machine was {load:.1f}."
    return "\n".join([head, *rows, "", said])


def make_home(folder: Path, images: int, shard_images: int) -> dict[str, str]:
    """A line over generated pictures, a third defective; returns the environment of steps."""
    random = np.random.default_rng(1)
    for number in range(images):
        picture = cv2.resize(random.integers(60, 190, (45, 80, 3)).astype(np.uint8), (1280, 720))
        defective = number % 3 == 0
        if defective:
            picture[300:360, 500:620] = 250
        path = folder / "source" / ("dent" if defective else "ok") / f"part{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture)
    (folder / "lines").mkdir()
    (folder / "lines" / "sizing.toml").write_text(
        _LINE.format(source=folder / "source", shard_images=shard_images)
    )
    return {
        **os.environ,
        "LOUPE_HOME": str(folder / "home"),
        "LOUPE_LINES": str(folder / "lines"),
        "LOUPE_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")])),
    }


def promote_first_bundle(environ: dict[str, str]) -> None:
    """Train on the first day's images and make the bundle live."""
    dataset = timed(environ, "snapshot", "--until", LEARNED)[1]["dataset"]
    for model in ("classifier", "anomaly"):
        timed(environ, "train", "--dataset", dataset, "--model", model)
    bundle = timed(environ, "evaluate", "--dataset", dataset)[1]["bundle"]
    timed(environ, "promote", "--bundle", bundle)


def timed(environ: dict[str, str], step: str, *words: str) -> tuple[float, dict]:
    """Seconds and result of a command."""
    named = [step, "--line", "sizing", *words] if step != "line" else [step, *words]
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "ml.cli", *named],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{step}: {done.stderr[-2000:]}")
    last = done.stdout.splitlines()[-1]
    return seconds, json.loads(last) if last.startswith("{") else {}


def read_rates(text: str) -> dict[str, float]:
    """Images/s of one worker by step, from the table that `measure` wrote."""
    table = text.partition("<!-- steps -->")[2].partition("<!-- end of steps -->")[0]
    found = {
        row[0]: float(row[1]) for row in re.findall(r"^\| (\w+) \|.*\| ([\d.]+) \|$", table, re.M)
    }
    missing = HOURS.keys() - found.keys()
    if missing:
        sys.exit(f"{RESULTS}: no figure of {', '.join(sorted(missing))}; run `sizing.py measure`")
    return {step: found[step] for step in HOURS}


def sizes(rates: dict[str, float]) -> str:
    """Workers by step and images a day, what binds, and the cores' price."""
    steps = list(HOURS)
    head = "| images a day | " + " | ".join(steps) + " | binds | core hours | $ a day | tasks |"
    rows = [head, "| " + " | ".join(["---"] * (len(steps) + 5)) + " |"]
    for images in A_DAY:
        workers = {s: math.ceil(images / (rates[s] * HOURS[s] * 3600)) for s in steps}
        hours = sum(images / rates[step] / 3600 for step in steps)
        binds = max(steps, key=lambda step: images / rates[step])
        cells = [f"{images:,}", *(f"{workers[step]:,}" for step in steps), binds]
        cells += [f"{hours:,.0f}", f"{hours * DOLLARS_A_CORE_HOUR:,.2f}"]
        rows.append("| " + " | ".join([*cells, f"{math.ceil(images / SHARD_IMAGES):,}"]) + " |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
