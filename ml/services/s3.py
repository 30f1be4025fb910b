"""A stand-in for S3 on one machine: moto's server, whose objects are kept in a folder.

`python -m ml.services.s3 --port P --folder F --bucket B …`. It holds every object in memory too, so
it is for tests and small lines; in production S3 is a real one.
"""

import argparse
import signal
import threading
from pathlib import Path
from urllib.parse import quote, unquote

from ml import files
from ml.services.processes import HOST

_SECONDS_BETWEEN_COPIES = 1


class Kept:
    """The folder's copy of what moto holds: one file an object, `<bucket>/<quoted key>`."""

    def __init__(self, folder: Path) -> None:
        from moto.core.models import DEFAULT_ACCOUNT_ID
        from moto.s3.models import s3_backends

        self._folder = folder
        self._backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
        self._tags: dict[tuple[str, str], str] = {}

    def load(self, buckets: list[str]) -> None:
        """Make the buckets and put every kept object back."""
        for name in {*buckets, *(path.name for path in self._folder.glob("*"))}:
            self._backend.create_bucket(name, "us-east-1")
        for path in self._folder.glob("*/*"):
            bucket, key = path.parent.name, unquote(path.name)
            kept = self._backend.put_object(bucket, key, path.read_bytes())
            self._tags[bucket, key] = kept.etag

    def copy(self) -> None:
        """Write what is new or changed since the last copy, and remove what is gone."""
        held = {
            (bucket.name, key.name): key
            for bucket in list(self._backend.buckets.values())
            for key in list(bucket.keys.values())
        }
        for place, key in held.items():
            if self._tags.get(place) != key.etag:
                files.write_bytes(self._path(place), key.value)
                self._tags[place] = key.etag
        for place in self._tags.keys() - held.keys():
            self._path(place).unlink(missing_ok=True)
            del self._tags[place]

    def _path(self, place: tuple[str, str]) -> Path:
        return self._folder / place[0] / quote(place[1], safe="")


def main() -> None:
    """Serve until SIGTERM; objects are copied every second and once more at the end."""
    from moto.server import ThreadedMotoServer

    parser = argparse.ArgumentParser(prog="python -m ml.services.s3", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--bucket", action="append", default=[])
    options = parser.parse_args()
    kept = Kept(options.folder)
    kept.load(options.bucket)
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    signal.signal(signal.SIGINT, lambda *_: ended.set())
    server = ThreadedMotoServer(ip_address=HOST, port=options.port, verbose=False)
    server.start()
    while not ended.wait(_SECONDS_BETWEEN_COPIES):
        kept.copy()
    server.stop()
    kept.copy()


if __name__ == "__main__":
    main()
