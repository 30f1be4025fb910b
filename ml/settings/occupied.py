"""Who works in a home: any number of steps at once, or one restore and nothing else.

Both hold the lock of one file of the home, which a process that dies gives back. The API takes
none, though it writes reviews: whoever restores stops it.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ml.errors import BackupError, SettingsError
from ml.settings.home import Home


@contextmanager
def at_work(home: Home) -> Iterator[None]:
    """Keep every restore out of the home meanwhile; raises BackupError while one is going on.

    Who may only read the home needs no lock, and could not make its file.
    """
    refusal = f"{home.root} is being restored at this moment; run it again when that has ended"
    is_read_only = home.root.is_dir() and not os.access(home.root, os.W_OK)
    if is_read_only and not home.lock.exists():
        yield
    else:
        # Another user's file can be read, and a shared lock wants no more.
        with _held(home.lock, os.O_RDONLY, fcntl.LOCK_SH, refusal):
            yield


@contextmanager
def alone(home: Home) -> Iterator[None]:
    """Keep every step out of the home meanwhile; raises BackupError while one is at work."""
    refusal = (
        f"{home.root}: a step, a backup or another restore is at work there; nothing was changed. "
        "Pause the DAGs, wait until it has ended, and run the same command again"
    )
    # NFS gives an exclusive lock only to who may write (flock(2)).
    with _held(home.lock, os.O_RDWR, fcntl.LOCK_EX, refusal):
        yield


@contextmanager
def _held(path: Path, mode: int, how: int, refusal: str) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, mode | os.O_CREAT, 0o644)
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
