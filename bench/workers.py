"""One night's shards with one worker and with two, by turns; writes RESULTS.md.

    python bench/workers.py HOME LINE DAY [--turns 3]

HOME has a champion of the line file LINE and images of DAY, as after `make demo`; it is copied, not
changed. A worker runs `loupe predict` for one shard after the other with one thread, as a Celery
worker of one slot does.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PROJECT = Path(__file__).parents[1]
RESULTS = PROJECT / "bench" / "RESULTS.md"
SHARDS = 8
WORKERS = (1, 2)
# What a night reads; training runs, MLflow and logs stay behind.
FOLDERS = ("objects", "catalog", "bundles", "live", "ledger", "keys")


def main() -> None:
    """Write the table of both numbers of workers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path)
    parser.add_argument("line", type=Path)
    parser.add_argument("day")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        environ = copy_home(options.home, options.line, options.day, Path(folder))
        plan = loupe(environ, "shards", options.line.stem, options.day)
        busy = os.getloadavg()[0]
        seconds: dict[int, list[float]] = {workers: [] for workers in WORKERS}
        for _ in range(options.turns):
            for workers in WORKERS:
                seconds[workers].append(night(environ, options, plan, workers))
    medians = {workers: statistics.median(found) for workers, found in seconds.items()}
    head = "| workers | seconds a night | images/s | times one |\n| --- | --- | --- | --- |"
    rows = [
        f"| {workers} | {median:.1f} | {plan['images'] / median:.1f} | {medians[1] / median:.2f} |"
        for workers, median in medians.items()
    ]
    said = (
        f"{options.line.stem}, {plan['images']} images in {len(plan['shards'])} shards, median of "
        f"{options.turns} turns; the load of the machine before was {busy:.1f}."
    )
    write("\n".join([head, *rows, "", said]))


def copy_home(home: Path, line: Path, day: str, folder: Path) -> dict[str, str]:
    """A home whose line has shards of an eighth of the day; returns the environment of steps."""
    for name in FOLDERS:
        if (home / name).exists():
            shutil.copytree(home / name, folder / "home" / name)
    environ = {
        **os.environ,
        "LOUPE_HOME": str(folder / "home"),
        "LOUPE_LINES": str(folder / "lines"),
        "LOUPE_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")])),
    }
    shutil.copytree(line.parent, folder / "lines")
    images = loupe(environ, "shards", line.stem, day)["images"]
    copy = folder / "lines" / line.name
    night = f"[night]\nshard_images = {max(images // SHARDS, 1)}\n"
    if "night" in tomllib.loads(copy.read_text()):
        sys.exit(f"{line} has a table [night]; give a copy without it")
    copy.write_text(f"{copy.read_text()}\n{night}")
    return environ


def night(environ: dict[str, str], options: argparse.Namespace, plan: dict, workers: int) -> float:
    """Seconds until all shards are inspected."""
    started = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        numbers = [str(shard["shard"]) for shard in plan["shards"]]
        names = (options.line.stem, options.day)
        list(pool.map(lambda n: loupe(environ, "predict", *names, "--shard", n), numbers))
    return time.perf_counter() - started


def loupe(environ: dict[str, str], step: str, line: str, day: str, *words: str) -> dict:
    """The result of a step."""
    command = [sys.executable, "-m", "ml.cli", step, "--line", line, "--day", day, *words]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def write(table: str) -> None:
    """Put the table between its marks in RESULTS.md."""
    before, _, rest = RESULTS.read_text().partition("<!-- workers -->")
    _, _, after = rest.partition("<!-- end of workers -->")
    text = f"{before}<!-- workers -->\n{table}\n<!-- end of workers -->{after}"
    RESULTS.write_text(text)


if __name__ == "__main__":
    main()
