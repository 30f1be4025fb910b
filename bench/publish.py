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
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
from deltalake import write_deltalake
from night import put
from night_line import ROOT

from ml.data import catalog
from ml.inference.publish import publish
from ml.results.firestore import FirestoreStore
from ml.results.pace import Pace
from ml.settings import Home

EMULATOR = Path("/usr/lib/google-cloud-sdk/platform/cloud-firestore-emulator")
MAIN = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
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


@contextmanager
def emulator() -> Iterator[None]:
    """A Firestore emulator on a free port, which the client finds by itself."""
    jars = sorted(EMULATOR.glob("*.jar"))
    if not jars:
        sys.exit("install google-cloud-cli-firestore-emulator")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    java = ["java", "-Xmx2g", "-cp", ":".join(map(str, jars)), MAIN, "start"]
    process = subprocess.Popen(
        [*java, "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.environ["FIRESTORE_EMULATOR_HOST"] = f"127.0.0.1:{port}"
    try:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.5)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


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
    empty = {f.name: pa.nulls(images, f.type) for f in catalog.PREDICTIONS if f.name not in columns}
    table = pa.table(columns | empty).select(catalog.PREDICTIONS.names).cast(catalog.PREDICTIONS)
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
    home = Home(ROOT / "publish")
    make_predictions(home, options.images, options.held)
    with emulator():
        clock = Clock()
        store = FirestoreStore(f"bench-{os.getpid()}", Pace(clock.read, clock.sleep))
        started = time.perf_counter()
        done = publish(home, store, LINE, DAY)
        seconds = time.perf_counter() - started
        started = time.perf_counter()
        again = publish(home, store, LINE, DAY)
        repeated = time.perf_counter() - started
        peer = FirestoreStore(f"peer-{os.getpid()}", Pace(clock.read, lambda _: None))
        rows = catalog.read_predictions(home, LINE, day=DAY, embeddings=False).slice(0, SAMPLE)
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
