"""Ingest against hashing and decoding alone: files a second, in the same run.

    python bench/ingest.py [<images of each size>]

Generated JPEGs in a folder. Alone: read, SHA-256 and `decode` in as many threads as Loupe uses.
Ingest: list, compare with the catalog, read, hash, keep the object, decode, measure, stage. Both
turn by turn, three times, after a turn that does not count. Files a second are medians by wall
clock; the ratio is also that of processor seconds, which other work on the machine disturbs less.
"""

import hashlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from ml.data.ingest import ingest
from ml.imaging import decode
from ml.settings import Env, Home, LineConfig

# Height, width and channels.
SIZES = ((300, 300, 1), (300, 300, 3), (720, 1280, 1), (720, 1280, 3))
TURNS = 3
TARGET = 0.8

LINE = LineConfig.model_validate(
    {
        "name": "bench",
        "title": "Bench",
        "source": {"uri": "unused", "layout": {"kind": "class_folders"}},
    }
)


def write_images(folder: Path, count: int, size: tuple[int, int, int]) -> None:
    """Brushed metal with a little noise: as large as a camera's JPEG of that size."""
    random = np.random.default_rng(0)
    (folder / "ok").mkdir(parents=True)
    for number in range(count):
        rows = cv2.GaussianBlur(random.normal(128, 60, (size[0], 1)), (0, 0), 2)
        image = np.clip(rows[..., None] + random.normal(0, 6, size), 0, 255)
        cv2.imwrite(str(folder / "ok" / f"{number:06d}.jpg"), image.astype(np.uint8))


def alone(folder: Path, _: Home, threads: int) -> None:
    """Read, hash and decode every file."""

    def one(path: Path) -> None:
        content = path.read_bytes()
        hashlib.sha256(content).hexdigest()
        decode(content, 100_000_000)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, sorted(folder.rglob("*.jpg"))))


def whole(folder: Path, home: Home, threads: int) -> None:
    """An ingest into a fresh home."""
    batch = ingest(home, LINE, source=str(folder), until=None, threads=threads)
    assert batch.new == batch.listed


def seconds(
    work: Callable[[Path, Home, int], None], folder: Path, threads: int
) -> tuple[float, float]:
    """How long the work took, by the clock and of the processor."""
    with tempfile.TemporaryDirectory() as home:
        start, used = time.perf_counter(), time.process_time()
        work(folder, Home(Path(home)), threads)
        return time.perf_counter() - start, time.process_time() - used


def main(count: int) -> None:
    """Print one row of bench/RESULTS.md for each size."""
    threads = Env.read().threads
    print("| image | files | alone, files/s | ingest, files/s | ratio | by processor | target |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for size in SIZES:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_images(folder, count, size)
            for work in (alone, whole):
                seconds(work, folder, threads)
            turns = [
                (seconds(alone, folder, threads), seconds(whole, folder, threads))
                for _ in range(TURNS)
            ]
        rates = [count / statistics.median(turn[at][0] for turn in turns) for at in (0, 1)]
        ratios = [statistics.median(a[at] / b[at] for a, b in turns) for at in (0, 1)]
        shape = f"{size[1]} × {size[0]}, {'grey' if size[2] == 1 else 'colour'}"
        cells = [f"{rates[0]:.0f}", f"{rates[1]:.0f}", f"{ratios[0]:.2f}", f"{ratios[1]:.2f}"]
        print(f"| {shape} | {count} | {' | '.join(cells)} | {TARGET} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
