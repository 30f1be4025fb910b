"""Listing in full against listing the days since the last full listing, in the same run.

    python bench/listing.py [<days> [<objects a day>]]

A folder, and an S3 (moto on loopback, so its seconds say little: what a bucket bills and what
grows is the requests, of at most 1,000 objects each).
"""

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import boto3
from moto.server import ThreadedMotoServer

from ml.data.listing import Watermark, scope_of
from ml.data.source import BucketSource, FolderSource, Source
from ml.settings import LineConfig

DAYS = "%Y/%m/%d/"
START = date(2026, 1, 1)
LINE = LineConfig.model_validate(
    {
        "name": "bench",
        "title": "Bench",
        "source": {"uri": "unused", "layout": {"kind": "class_folders", "days": DAYS}},
    }
)


def keys(days: int, each: int) -> list[str]:
    """The objects of so many days."""
    folders = [(START + timedelta(days=number)).strftime(DAYS) for number in range(days)]
    return [f"{folder}ok/{number:06d}.jpg" for folder in folders for number in range(each)]


def row(name: str, place: Source, prefixes: Sequence[str] | None, requests: list[str]) -> None:
    """Print one row of bench/RESULTS.md."""
    requests.clear()
    start = time.perf_counter()
    listed = sum(1 for _ in place.list(prefixes))
    kind = "in full" if prefixes is None else f"{len(prefixes)} days"
    seconds = time.perf_counter() - start
    print(f"| {name} | {kind} | {listed} | {len(requests) or '–'} | {seconds:.2f} |")


def main(days: int, each: int) -> None:
    """Print both sources, in full and since the last full listing, half a day ago."""
    now = datetime.combine(START + timedelta(days=days - 1), datetime.min.time(), UTC)
    mark = Watermark("unused", DAYS, (now - timedelta(hours=12)).isoformat())
    since = scope_of(LINE, "unused", mark, now).prefixes
    requests: list[str] = []
    print("| source | listing | objects listed | requests | seconds |")
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        for key in keys(days, each):
            path = Path(name, key)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        for prefixes in (None, since):
            row("folder", FolderSource(Path(name)), prefixes, requests)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    os.environ |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": f"http://{host}:{port}"}
    client = boto3.client("s3")
    client.create_bucket(Bucket="bench")
    # An S3 in this process: objects are put past HTTP, which would take the longest by far.
    from moto.s3.models import s3_backends

    backend = next(iter(s3_backends.values()))["aws"]
    for key in keys(days, each):
        backend.put_object("bench", key, b"x")
    place = BucketSource("s3://bench")
    place._client.meta.events.register(
        "before-call.s3.ListObjectsV2", lambda params, **_: requests.append(params["url_path"])
    )
    for prefixes in (None, since):
        row("S3", place, prefixes, requests)
    server.stop()


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:3] or ("60", "1000")))
