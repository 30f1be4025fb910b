"""Ingest against hashing and decoding alone: files a second, in the same run.

    python bench/ingest.py [<images of each size>]

Generated JPEGs in a folder. Alone: read, SHA-256 and `decode_rgb` in as many threads as Loupe
uses. Ingest: list, compare with the catalog, read, hash, keep the object, decode, measure, stage.
Both turn by turn, three times, after a turn that does not count; the medians and their ratio.
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
from ml.imaging import decode_rgb
from ml.settings import Env, Home, LineConfig

SIZES = ((300, 300), (720, 1280))
TURNS = 3
TARGET = 0.8

LINE = LineConfig.model_validate(
    {
        "name": "bench",
        "title": "Bench",
        "source": {"uri": "unused", "layout": {"kind": "class_folders"}},
    }
)


def write_images(folder: Path, count: int, size: tuple[int, int]) -> None:
    """Brushed metal with a little noise: as large as a camera's JPEG of that size."""
    random = np.random.default_rng(0)
    (folder / "ok").mkdir(parents=True)
    for number in range(count):
        rows = cv2.GaussianBlur(random.normal(128, 60, (size[0], 1)), (0, 0), 2)
        image = np.clip(rows[..., None] + random.normal(0, 6, (*size, 3)), 0, 255)
        cv2.imwrite(str(folder / "ok" / f"{number:06d}.jpg"), image.astype(np.uint8))


def alone(folder: Path, threads: int) -> None:
    """Read, hash and decode every file."""

    def one(path: Path) -> None:
        content = path.read_bytes()
        hashlib.sha256(content).hexdigest()
        decode_rgb(content, 100_000_000)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, sorted(folder.rglob("*.jpg"))))


def whole(folder: Path, threads: int) -> None:
    """An ingest into a fresh home."""
    with tempfile.TemporaryDirectory() as home:
        batch = ingest(Home(Path(home)), LINE, source=str(folder), until=None, threads=threads)
        assert batch.new == batch.listed


def seconds(work: Callable[[Path, int], None], folder: Path, threads: int) -> float:
    """How long the work took."""
    start = time.perf_counter()
    work(folder, threads)
    return time.perf_counter() - start


def main(count: int) -> None:
    """Print one row of bench/RESULTS.md for each size."""
    threads = Env.read().threads
    print("| image | files | threads | alone, files/s | ingest, files/s | ratio | target |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for size in SIZES:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_images(folder, count, size)
            for work in (alone, whole):
                work(folder, threads)
            turns = [
                (seconds(alone, folder, threads), seconds(whole, folder, threads))
                for _ in range(TURNS)
            ]
        a, b = (count / statistics.median(times) for times in zip(*turns, strict=True))
        ratio = statistics.median(first / second for first, second in turns)
        shape = f"{size[1]} × {size[0]}"
        print(f"| {shape} | {count} | {threads} | {a:.0f} | {b:.0f} | {ratio:.2f} | {TARGET} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
