"""Whole-or-nothing file writes and content hashes.

A killed step must leave either the old file or the new one, never half of one.
"""

import errno
import fcntl
import hashlib
import json
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_CHUNK_BYTES = 1 << 20

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_AWAY = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN}
_FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}
# A file that is not there, or may not be read, is neither in ten seconds.
_LASTING = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ELOOP}


def may_pass(error: OSError) -> bool:
    """Whether a file that could not be read may be readable soon: an I/O error, a stale handle."""
    return error.errno not in _LASTING


def disk_is_full(error: Exception) -> bool:
    """Whether a disk had no room left, or a quota or limit of this process was reached."""
    is_sqlite = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
    return is_sqlite or _is_one_of(_FULL, error)


def storage_is_away(error: Exception) -> bool:
    """Whether a disk or a network volume did not answer."""
    return _is_one_of(_AWAY, error)


def is_forbidden(error: Exception) -> bool:
    """Whether a file or folder may not be read or written: by its mode, or its whole disk."""
    return _is_one_of(_FORBIDDEN, error)


def _is_one_of(numbers: set[int], error: Exception) -> bool:
    # Delta Lake gives the number in its text alone.
    return getattr(error, "errno", None) in numbers or any(
        f"(os error {number})" in str(error) for number in numbers
    )


def write_bytes(
    path: Path, content: bytes | memoryview, mode: int = 0o644, *, sync: bool = True
) -> None:
    """Write `content` to `path` atomically, creating the folders above it.

    Without `sync` a power cut may take it; who writes many files calls `os.sync` once after them.
    """
    handle, temporary = _beside(path)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            # mkstemp makes files private; the web server may run as another user of the group.
            os.fchmod(handle, mode)
            if sync:
                file.flush()
                os.fsync(handle)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Let the disk have a file or the names in a folder; nothing where there is none."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _beside(path: Path) -> tuple[int, str]:
    """A new hidden file beside `path`, open; the folder is nearly always there."""
    prefix = f".{path.name}."
    try:
        return tempfile.mkstemp(dir=path.parent, prefix=prefix)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return tempfile.mkstemp(dir=path.parent, prefix=prefix)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which is created: one process or thread at a time.

    The lock of a process that dies is free again. It is that of a hidden file, opened for writing:
    NFS gives an exclusive lock to no other (flock(2)).
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as canonical JSON (sorted keys), so equal values give equal bytes."""
    write_bytes(path, (json.dumps(value, sort_keys=True, indent=1) + "\n").encode())


def read_json(path: Path) -> Any:
    """The JSON value in `path`; raises FileNotFoundError or json.JSONDecodeError."""
    return json.loads(path.read_text())


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def content_key(value: Any, length: int = 16) -> str:
    """A short name for a JSON value: equal values give equal names."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:length]
