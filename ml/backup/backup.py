"""`loupe backup`: copy a home that may be in use."""

import fcntl
import logging
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import IO

from ml import files
from ml.backup.contents import SIGNING_KEY, files_of
from ml.backup.vault import Copied, Snapshot, Vault
from ml.bundle.keys import encrypted_signing_key
from ml.errors import BackupError, StorageError
from ml.progress import track
from ml.settings import Home
from ml.settings.occupied import at_work

log = logging.getLogger(__name__)

_SQLITE = b"SQLite format 3\0"


@dataclass(frozen=True)
class Done:
    """A snapshot, how many of its files were new, and objects whose bytes are not their name's.

    `mended` and `lost` are contents of the vault that were found damaged: how many were written
    anew, and the files of earlier snapshots, `<snapshot>: <path>`, whose bytes the home lacks.
    """

    snapshot: Snapshot
    new: int
    damaged: list[str]
    mended: int = 0
    lost: list[str] = field(default_factory=list)


def backup(
    home: Home, vault: Vault, passphrase: bytes | None = None, *, verify: bool = False
) -> Done:
    """Add a snapshot of the home to a vault; what the vault has already is not copied again.

    That is told by name and size; with `verify` every content of the vault is read first, and the
    damaged ones are written anew from the home. The signing key is in it only where a passphrase
    encrypts it. Killed and repeated, it goes on from what is copied. Raises BackupError when there
    is no home, the vault lies inside it, or a file cannot be copied; StorageError when the disk is
    full.
    """
    if not home.root.is_dir() or home.restoring.exists():
        msg = f"{home.root}: no home, or a half restored one; nothing to back up"
        raise BackupError(msg)
    if home.root.resolve() in [vault.root.resolve(), *vault.root.resolve().parents]:
        msg = f"{vault.root} lies inside {home.root}; a backup belongs elsewhere"
        raise BackupError(msg)
    try:
        with at_work(home), files.locked(vault.root):
            found = vault.verify() if verify else set()
            done = _backup(home, vault, passphrase)
            return _mended(done, vault, found) if found else done
    except (OSError, sqlite3.Error) as error:
        msg = f"the backup to {vault.root} failed: {error}; the same command goes on from here"
        if files.disk_is_full(error):
            # As with every other step, more space cures it.
            raise StorageError(f"{msg}, once some space is free: the disk is full") from error
        raise BackupError(msg) from error


def _backup(home: Home, vault: Vault, passphrase: bytes | None) -> Done:
    names = vault.names()
    before = {one.path: one for one in vault.read().copied} if names else {}
    tables: dict[str, int] = {}
    copied: list[Copied] = []
    damaged = []
    for path in track(files_of(home.root, tables), "backup", len(before)):
        name = path.relative_to(home.root).as_posix()
        if name == SIGNING_KEY:
            continue
        one = _copied(path, name, before.get(name), vault)
        copied.append(one)
        if name.startswith("objects/") and one.sha256 != path.name:
            log.error("%s: its bytes are not those of its name; copied as it is", path)
            damaged.append(name)
    keys, key = _key(home, vault, passphrase)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    number = f"{int(names[-1]) + 1 if names else 1:06d}"
    snapshot = Snapshot(number, at, keys, tables, copied + key)
    vault.write(snapshot)
    known = {one.sha256 for one in before.values()}
    return Done(snapshot, sum(one.sha256 not in known for one in snapshot.copied), damaged)


def _mended(done: Done, vault: Vault, found: set[str]) -> Done:
    """The backup, with what became of the contents that `verify` found damaged."""
    left = vault.damaged
    lost = [
        f"{name}: {one.path}"
        for name in vault.names()
        for one in vault.read(name).copied
        if one.sha256 in left
    ]
    for one in lost:
        log.error("%s: lost, and LOUPE_HOME does not have its bytes any more", one)
    return replace(done, mended=len(found - left), lost=lost)


def _copied(path: Path, name: str, before: Copied | None, vault: Vault) -> Copied:
    stat = path.stat()
    facts = {"path": name, "mode": stat.st_mode & 0o777, "mtime_ns": stat.st_mtime_ns}
    if name.startswith("objects/") and vault.holds(path.name, stat.st_size):
        return Copied(**facts, sha256=path.name, bytes=stat.st_size)  # type: ignore[arg-type]
    with path.open("rb") as file:
        is_database = file.read(len(_SQLITE)) == _SQLITE
    is_same = before and (before.bytes, before.mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    # A database may have its newest rows in a file beside it.
    if before and is_same and not is_database and vault.holds(before.sha256, before.bytes):
        return before
    with _database(path) if is_database else _locked(path) as file:
        sha256, size = vault.add(file)
    return Copied(**facts, sha256=sha256, bytes=size)  # type: ignore[arg-type]


@contextmanager
def _locked(path: Path) -> Iterator[IO[bytes]]:
    # Who appends to a ledger holds its lock: no half line is read.
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield file


@contextmanager
def _database(path: Path) -> Iterator[IO[bytes]]:
    """A consistent copy of a SQLite file that others may be writing."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy.db"
        try:
            _copy_database(path, copy)
        except sqlite3.OperationalError:
            if os.access(path.parent, os.W_OK):
                raise
            # In WAL mode SQLite makes files beside a database that nobody has open, even to read.
            _copy_database(_aside(path, Path(folder)), copy)
        with copy.open("rb") as file:
            yield file


def _copy_database(path: Path, copy: Path) -> None:
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as to:
        source.backup(to)
        # A copy in WAL mode would want files beside it.
        to.execute("PRAGMA journal_mode = DELETE")


def _aside(path: Path, folder: Path) -> Path:
    """The database with its newest rows, where files beside it can be made."""
    for one in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-journal")):
        if one.exists():
            shutil.copyfile(one, folder / one.name)
    return folder / path.name


def _key(home: Home, vault: Vault, passphrase: bytes | None) -> tuple[str, list[Copied]]:
    """What becomes of the signing key, and its file of the snapshot."""
    if home.named_signing_key is not None:
        return "outside", []
    if not home.signing_key.exists():
        return "none", []
    if passphrase is None:
        log.warning(
            "the signing key is NOT in this backup; give --passphrase-file, or keep %s apart",
            home.signing_key,
        )
        return "left out", []
    sha256, size = vault.add(BytesIO(encrypted_signing_key(home, passphrase)))
    return "encrypted", [Copied(SIGNING_KEY, sha256, size, 0o600, 0)]
