"""Who works in a home: any number of steps at once, or one restore and nothing else.

Both hold the lock of one file of the home, which a process that dies gives back. Reading only, as
the API does, takes none.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ml.errors import BackupError, SettingsError
from ml.settings.home import Home

_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def at_work(home: Home) -> Iterator[None]:
    """Keep every restore out of the home meanwhile; raises BackupError while one is going on.

    Where nothing can be written there is nothing to restore either, and no lock is needed.
    """
    try:
        handle = _opened(home.lock, os.O_RDONLY)
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise
        yield
        return
    refusal = f"{home.root} is being restored at this moment; run it again when that has ended"
    with _held(handle, fcntl.LOCK_SH, home.lock, refusal):
        yield


@contextmanager
def alone(home: Home) -> Iterator[None]:
    """Keep every step out of the home meanwhile; raises BackupError while one is at work."""
    # NFS gives an exclusive lock only to who may write (flock(2)).
    handle = _opened(home.lock, os.O_RDWR)
    refusal = (
        f"{home.root}: a step, a backup or another restore is at work there; nothing was changed. "
        "Pause the DAGs, wait until it has ended, and run the same command again"
    )
    with _held(handle, fcntl.LOCK_EX, home.lock, refusal):
        yield


def _opened(path: Path, how: int) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, how | os.O_CREAT, 0o644)


@contextmanager
def _held(handle: int, how: int, path: Path, refusal: str) -> Iterator[None]:
    try:
        _lock(handle, how, path, refusal)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, how: int, path: Path, refusal: str) -> None:
    try:
        fcntl.flock(handle, how | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BackupError(refusal) from error
    except OSError as error:
        msg = f"{path}: cannot be locked: {error}; LOUPE_HOME needs a file system with flock(2)"
        raise SettingsError(msg) from error
