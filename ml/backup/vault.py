"""The folder that backups lie in: contents by their SHA-256, and one list of files per snapshot.

`blobs/<ab>/<sha256>` is written once and never changed, so a further snapshot costs what is new;
`snapshots/<number>.json` is written last, so a killed backup leaves no snapshot.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from ml import files
from ml.errors import BackupError

FORMAT = 1
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Copied:
    """One file of a snapshot; `path` is relative to the home, `mtime_ns` that of the original."""

    path: str
    sha256: str
    bytes: int
    mode: int
    mtime_ns: int


@dataclass(frozen=True)
class Snapshot:
    """A home as it was copied. `tables` are the versions of its Delta tables.

    `keys` is `left out`, `encrypted`, `outside` (the environment names the key) or `none`.
    """

    name: str
    at: str
    keys: str
    tables: dict[str, int]
    copied: list[Copied] = field(repr=False)
    format: int = FORMAT

    @property
    def bytes(self) -> int:
        """Of all files together."""
        return sum(one.bytes for one in self.copied)


class Vault:
    """A folder of backups."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> list[str]:
        """The snapshots, oldest first."""
        return sorted(path.stem for path in (self.root / "snapshots").glob("*.json"))

    def read(self, name: str | None = None) -> Snapshot:
        """A snapshot, by default the newest; BackupError when there is none or it is unknown."""
        known = self.names()
        name = name or (known[-1] if known else "")
        if name not in known:
            msg = f"{self.root}: no snapshot {name!r}; there are: {', '.join(known) or 'none'}"
            raise BackupError(msg)
        content = files.read_json(self._snapshot(name))
        if content["format"] != FORMAT:
            msg = f"{self._snapshot(name)}: format {content['format']}; this Loupe reads {FORMAT}"
            raise BackupError(msg)
        return Snapshot(**content | {"copied": [Copied(**one) for one in content["copied"]]})

    def write(self, snapshot: Snapshot) -> None:
        """Add a snapshot whose blobs are all here."""
        os.sync()  # the blobs, before anything names them
        files.write_json(self._snapshot(snapshot.name), asdict(snapshot))

    def blob(self, sha256: str) -> Path:
        """Where the content of that hash lies."""
        return self.root / "blobs" / sha256[:2] / sha256

    def holds(self, sha256: str, size: int) -> bool:
        """Whether a file of this size lies there; a power cut may have left less of it."""
        blob = self.blob(sha256)
        return blob.exists() and blob.stat().st_size == size

    def add(self, source: IO[bytes]) -> tuple[str, int]:
        """Copy an open file; returns the SHA-256 and the number of the bytes that were copied."""
        with _temporary(self.root / "blobs") as temporary:
            with temporary.open("wb") as target:
                sha256, size = copy(source, target)
            blob = self.blob(sha256)
            blob.parent.mkdir(exist_ok=True)
            temporary.replace(blob)
        return sha256, size

    def check(self, snapshot: Snapshot) -> None:
        """Read every content of a snapshot again; BackupError names what is lost or altered."""
        for one in snapshot.copied:
            blob = self.blob(one.sha256)
            if not blob.exists() or files.sha256(blob) != one.sha256:
                msg = f"{blob}: lost or altered; it is {one.path} of snapshot {snapshot.name}"
                raise BackupError(msg)

    def _snapshot(self, name: str) -> Path:
        return self.root / "snapshots" / f"{name}.json"


def copy(source: IO[bytes], target: IO[bytes]) -> tuple[str, int]:
    """Copy an open file to another; returns SHA-256 and size of what was copied."""
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(_CHUNK_BYTES):
        digest.update(chunk)
        size += len(chunk)
        target.write(chunk)
    return digest.hexdigest(), size


@contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder, prefix=".")
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
