"""Publishing a night to Firestore: documents a second, and a night of a million images.

    python bench/publish.py [--images 1000000] [--held 0.015]

Needs the Firestore emulator (Debian package google-cloud-cli-firestore-emulator, Java). Predictions
are generated; everything else is the product's `publish`. Writes meet the emulator at once, while
the pace that Firestore asks for is counted on a clock of its own, so that nobody has to wait for
it. The peer writes one document for each image. The table goes into RESULTS.md.
"""

import argparse
import os
import shutil
import sys
import time
from hashlib import sha256

import numpy as np
import pyarrow as pa
from deltalake import write_deltalake
from night_line import ROOT
from result_tables import put

from ml.data import predicted
from ml.inference.publish import publish
from ml.results.firestore import FirestoreStore
from ml.results.pace import Pace
from ml.services import firestore
from ml.settings import Home

LINE, DAY = "million", "2026-01-05"
SHARD_IMAGES = 500
# Documents that the peer writes: enough for a rate.
SAMPLE = 5000
# Firestore's published ramp: writes a second at first, its growth, and after how long.
RAMP_START, RAMP_GROWTH, RAMP_SECONDS = 500, 1.5, 300


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def read(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def make_predictions(home: Home, images: int, held: float) -> None:
    """A night's predictions: passed, but for a share that is held for review."""
    shutil.rmtree(home.root, ignore_errors=True)
    number = np.arange(images)
    review = number % round(1 / held) == 0
    names = [f"{index:08d}" for index in range(images)]
    p = np.where(review, 0.4, 0.001)
    columns = {
        "day": [DAY] * images,
        "shard": number // SHARD_IMAGES,
        "object": names,
        "sha256": [sha256(name.encode()).hexdigest() for name in names],
        "part": names,
        "lot": ["l1"] * images,
        "camera": ["north"] * images,
        "bundle": ["0" * 32] * images,
        "verdict": np.where(review, "review", "pass"),
        "reason": np.where(review, "doubtful", ""),
        "p_defect": p,
        "defect_type": np.where(review, "scratch", ""),
        "score_classifier": p,
        "p_classifier": p,
        "area": np.zeros(images),
        "regions": pa.array(["[]" if one else None for one in review]),
    }
    empty = {f.name: pa.nulls(images, f.type) for f in predicted.SCHEMA if f.name not in columns}
    table = pa.table(columns | empty).select(predicted.SCHEMA.names).cast(predicted.SCHEMA)
    path = home.table(LINE, "predictions")
    path.mkdir(parents=True)
    write_deltalake(str(path), table, partition_by=["day"])


def ramp_seconds(writes: int) -> float:
    """How long so many writes take by Firestore's published ramp."""
    rate, seconds, left = float(RAMP_START), 0.0, float(writes)
    while left > rate * RAMP_SECONDS:
        left -= rate * RAMP_SECONDS
        seconds += RAMP_SECONDS
        rate *= RAMP_GROWTH
    return seconds + left / rate


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--held", type=float, default=0.015)
    options = parser.parse_args()
    if not firestore.installed():
        sys.exit(f"install {firestore.PACKAGE}")
    home = Home(ROOT / "publish")
    make_predictions(home, options.images, options.held)
    with firestore.running(ROOT / "emulator", memory_mb=2048) as address:
        os.environ["FIRESTORE_EMULATOR_HOST"] = address
        clock = Clock()
        store = FirestoreStore(f"bench-{os.getpid()}", Pace(clock.read, clock.sleep))
        started = time.perf_counter()
        done = publish(home, store, LINE, DAY)
        seconds = time.perf_counter() - started
        started = time.perf_counter()
        again = publish(home, store, LINE, DAY)
        repeated = time.perf_counter() - started
        peer = FirestoreStore(f"peer-{os.getpid()}", Pace(clock.read, lambda _: None))
        rows = predicted.read(home, LINE, day=DAY, embeddings=False).slice(0, SAMPLE)
        documents = {row["sha256"]: row | {"captured_at": None} for row in rows.to_pylist()}
        started = time.perf_counter()
        peer.put("images", documents)
        rate = len(documents) / (time.perf_counter() - started)
    times = options.images / done.written
    minutes = (clock.now + seconds) / 60
    whole = options.images / rate
    put(
        "publish",
        f"| publish, {options.images} images | {options.held:.1%} | {done.written} | "
        f"{done.written / seconds:.0f} | {times:.0f} | {minutes:.1f} |",
    )
    put(
        "publish",
        f"| one document an image | | {options.images} | {rate:.0f} | 1 | "
        f"{max(ramp_seconds(options.images), whole) / 60:.1f} |",
    )
    print(f"repeated: {again.written} written in {repeated:.1f} s")


if __name__ == "__main__":
    main()
