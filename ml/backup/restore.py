"""`loupe restore`: a home from a backup, verified byte by byte."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from ml import files
from ml.backup.contents import LEFT_OUT, SIGNING_KEY
from ml.backup.vault import Copied, Snapshot, Vault
from ml.bundle.keys import decrypted_signing_key
from ml.errors import BackupError
from ml.progress import track
from ml.settings import Home
from ml.settings.occupied import alone


@dataclass(frozen=True)
class Restored:
    """The snapshot, how many files were written, and how many stood already. `keys`: the key."""

    snapshot: Snapshot
    written: int
    stood: int
    keys: str


def restore(
    home: Home,
    vault: Vault,
    name: str | None = None,
    *,
    replace: bool = False,
    passphrase: bytes | None = None,
) -> Restored:
    """Make a home what a snapshot says, by default the newest.

    Only an empty home is filled; with `replace` another one is made equal to the snapshot, once
    every byte of that is verified: what the snapshot lacks is removed, but for logs, Airflow's
    state, locks and the signing key. Killed, the same command goes on, and until it is done no step
    runs. Raises BackupError when the home has anything in it, when a step is at work in it, or when
    the snapshot is not whole or names a file outside the home.
    """
    snapshot = vault.read(name)
    key = _key(vault, snapshot, passphrase)
    try:
        with alone(home):
            written, stood = _restore(home, vault, snapshot, key, replace)
    except OSError as error:
        msg = f"the restore into {home.root} failed: {error}; the same command goes on from here"
        raise BackupError(msg) from error
    keys = "restored" if key is not None else snapshot.keys
    return Restored(snapshot, written, stood, keys)


def _restore(
    home: Home, vault: Vault, snapshot: Snapshot, key: bytes | None, replace: bool
) -> tuple[int, int]:
    """How many files were written, and how many stood already."""
    _refuse_outside(home.root, snapshot)
    mark = {"from": str(vault.root.resolve()), "snapshot": snapshot.name}
    goes_on = home.restoring.exists() and files.read_json(home.restoring) == mark
    if not goes_on:
        if not replace and any(path != home.lock for path in home.root.iterdir()):
            msg = f"{home.root} has something in it; nothing was changed (--replace overwrites it)"
            raise BackupError(msg)
        vault.check(snapshot)
        files.write_json(home.restoring, mark)
    _remove_others(home.root, {one.path for one in snapshot.copied})
    plain = [one for one in snapshot.copied if one.path != SIGNING_KEY]
    written = 0
    for one in track(plain, "restore", len(plain)):
        written += _write(home.root / one.path, vault, one)
    if key is not None:
        files.write_bytes(home.root / SIGNING_KEY, key, 0o600)
    # Nothing of it may be lost to a power cut once the home counts as whole.
    os.sync()
    home.restoring.unlink()
    return written, len(plain) - written


def _key(vault: Vault, snapshot: Snapshot, passphrase: bytes | None) -> bytes | None:
    """The signing key of a snapshot in the clear; None without a passphrase or a key."""
    found = [one for one in snapshot.copied if one.path == SIGNING_KEY]
    if passphrase is None:
        return None
    if not found:
        msg = f"snapshot {snapshot.name} of {vault.root} has no signing key ({snapshot.keys})"
        raise BackupError(msg)
    return decrypted_signing_key(vault.blob(found[0].sha256), passphrase)


def _refuse_outside(root: Path, snapshot: Snapshot) -> None:
    """Raise BackupError where a path is absolute, climbs out, or goes through a link that does."""
    resolved = root.resolve()
    for one in snapshot.copied:
        place = (root / one.path).resolve()
        if resolved not in place.parents:
            msg = (
                f"{one.path!r} of snapshot {snapshot.name} would be written to {place}, outside "
                f"{root}; nothing was written. Where a link of the home leads there, remove it"
            )
            raise BackupError(msg)


def _remove_others(root: Path, wanted: set[str]) -> None:
    for path in sorted(root.rglob("*"), reverse=True):
        name = path.relative_to(root).as_posix()
        if name.split("/")[0] in LEFT_OUT or name == SIGNING_KEY:
            continue
        # Who holds it would go on with a file that no other process finds.
        if path.name.endswith(".lock"):
            continue
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif name not in wanted:
            path.unlink()


def _write(path: Path, vault: Vault, one: Copied) -> bool:
    """Write one file unless it stands; True when it was written."""
    if path.is_file() and path.stat().st_size == one.bytes and files.sha256(path) == one.sha256:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.restoring")
    shutil.copyfile(vault.blob(one.sha256), temporary)
    if files.sha256(temporary) != one.sha256:
        temporary.unlink()
        msg = f"{path}: what was written is not what the backup has; check the disk"
        raise BackupError(msg)
    temporary.chmod(one.mode)
    temporary.replace(path)
    return True
