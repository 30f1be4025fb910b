"""The folder that backups lie in: contents by their SHA-256, and one list of files per snapshot.

`blobs/<ab>/<sha256>` is written once and never changed, so a further snapshot costs what is new;
`snapshots/<number>.json` is written last, so a killed backup leaves no snapshot.
"""

import errno
import hashlib
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from ml import files
from ml.errors import BackupError
from ml.progress import track

FORMAT = 1
_CHUNK_BYTES = 1 << 20
_NAMED = 10  # of the files of a message; a dead disk may have lost them all


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
    """A folder of backups. `damaged` are the contents that `verify` found so, by hash."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.damaged: set[str] = set()

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
        """Whether a file of this size lies there that no `verify` has found damaged.

        A power cut may have left less of it.
        """
        blob = self.blob(sha256)
        there = blob.exists() and blob.stat().st_size == size
        return there and sha256 not in self.damaged

    def add(self, source: IO[bytes]) -> tuple[str, int]:
        """Copy an open file; returns the SHA-256 and the number of the bytes that were copied."""
        with _temporary(self.root / "blobs") as temporary:
            with temporary.open("wb") as target:
                sha256, size = copy(source, target)
            blob = self.blob(sha256)
            blob.parent.mkdir(exist_ok=True)
            temporary.replace(blob)
        self.damaged.discard(sha256)
        return sha256, size

    def verify(self) -> set[str]:
        """Read every content again; returns the hashes of those that are lost or altered.

        They count as not held until `add` writes them anew. They stay as they are until then: a
        disk that reads wrongly once must not cost what it holds.
        """
        named = {one.sha256 for name in self.names() for one in self.read(name).copied}
        here = {path.name for path in (self.root / "blobs").glob("*/*")}
        contents = sorted(named | here)
        checked = track(contents, "verify", len(contents))
        self.damaged = {sha256 for sha256 in checked if not self._is_whole(sha256)}
        return set(self.damaged)

    def lost(self, snapshot: Snapshot) -> list[Copied]:
        """Read every content of a snapshot again; its files whose content is lost or altered."""
        checked = track(snapshot.copied, "check", len(snapshot.copied))
        return [one for one in checked if not self._is_whole(one.sha256)]

    def check(self, snapshot: Snapshot) -> None:
        """Read every content again; BackupError names what is lost or altered, and the remedy."""
        if lost := self.lost(snapshot):
            raise BackupError(self.complaint(snapshot, lost))

    def complaint(self, snapshot: Snapshot, lost: list[Copied]) -> str:
        """What to say of a snapshot that lost these files, and what to do."""
        paths = defaultdict(list)
        for one in lost:
            paths[one.sha256].append(one.path)
        rows = [f"  {self.blob(sha256)}: {', '.join(of)}" for sha256, of in paths.items()]
        more = [f"  and {len(rows) - _NAMED} more"] if len(rows) > _NAMED else []
        remedy = (
            f"`loupe backup {self.root} --verify` writes them anew where LOUPE_HOME still has the "
            "bytes; an older snapshot (--snapshot) may be whole"
        )
        if all(one.path.startswith("objects/") for one in lost):
            remedy += "; all are images: `loupe restore --without-lost-images` goes on without them"
        first = f"{self.root}: contents of snapshot {snapshot.name} are lost or altered:"
        return "\n".join([first, *rows[:_NAMED], *more, remedy])

    def _is_whole(self, sha256: str) -> bool:
        try:
            return files.sha256(self.blob(sha256)) == sha256
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno == errno.EIO:  # a bad sector
                return False
            msg = f"{self.blob(sha256)}: cannot be read: {error}"
            raise BackupError(msg) from error

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
