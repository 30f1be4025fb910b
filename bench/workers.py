"""One night's shards with one worker and with two, by turns; writes RESULTS.md.

    python bench/workers.py [--images 400] [--turns 3]

The line and its images are those of `sizing.py`. A worker runs `loupe predict` for one shard after
the other with one thread, as a Celery worker of one slot does.
"""

import argparse
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from result_tables import write
from sizing import DAY, make_home, promote_first_bundle, timed

SHARDS = 8
WORKERS = (1, 2)


def main() -> None:
    """Write the table of both numbers of workers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # Half of the images are the night's.
        environ = make_home(Path(folder), options.images, options.images // 2 // SHARDS)
        batch = timed(environ, "ingest")[1]["batch"]
        timed(environ, "validate", "--batch", batch)
        promote_first_bundle(environ)
        plan = timed(environ, "shards", "--day", DAY)[1]
        shards = [str(shard["shard"]) for shard in plan["shards"]]
        load = os.getloadavg()[0]
        seconds: dict[int, list[float]] = {workers: [] for workers in WORKERS}
        for _ in range(options.turns):
            for workers in WORKERS:
                seconds[workers].append(night(environ, shards, workers))
    medians = {workers: statistics.median(found) for workers, found in seconds.items()}
    head = "| workers | seconds a night | images/s | times one |\n| --- | --- | --- | --- |"
    rows = [
        f"| {workers} | {median:.1f} | {plan['images'] / median:.1f} | {medians[1] / median:.2f} |"
        for workers, median in medians.items()
    ]
    said = (
        f"{plan['images']} images in {len(shards)} shards, median of {options.turns} turns; "
        f"the load of the machine before them was {load:.1f}."
    )
    write("workers", "\n".join([head, *rows, "", said]))


def night(environ: dict[str, str], shards: list[str], workers: int) -> float:
    """Seconds until all shards are inspected."""
    started = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda n: timed(environ, "predict", "--day", DAY, "--shard", n), shards))
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
