"""`loupe restore`: a home from a backup, verified byte by byte."""

import logging
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

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Restored:
    """The snapshot, how many files were written, and how many stood already. `keys`: the key.

    `lost` are the images that the backup has lost and the home does not have either.
    """

    snapshot: Snapshot
    written: int
    stood: int
    keys: str
    lost: list[str]


def restore(
    home: Home,
    vault: Vault,
    name: str | None = None,
    *,
    replace: bool = False,
    passphrase: bytes | None = None,
    without_lost_images: bool = False,
) -> Restored:
    """Make a home what a snapshot says, by default the newest.

    Only an empty home is filled; with `replace` another one is made equal to the snapshot, once
    every byte of that is verified: what the snapshot lacks is removed, but for logs, Airflow's
    state, locks and the signing key. Killed, the same command goes on, and until it is done no step
    runs. Raises BackupError when the home has anything in it, when a step is at work in it, or when
    the snapshot is not whole or names a file outside the home. With `without_lost_images` a
    snapshot that lost nothing but images counts as whole: the night holds their parts for review.
    """
    snapshot = vault.read(name)
    key = _key(vault, snapshot, passphrase)
    try:
        with alone(home):
            plan = _Plan(snapshot, key, replace, without_lost_images)
            written, stood, lost = _restore(home, vault, plan)
    except OSError as error:
        msg = f"the restore into {home.root} failed: {error}; the same command goes on from here"
        raise BackupError(msg) from error
    keys = "restored" if key is not None else snapshot.keys
    return Restored(snapshot, written, stood, keys, lost)


@dataclass(frozen=True)
class _Plan:
    snapshot: Snapshot
    key: bytes | None
    replace: bool
    without_lost_images: bool


def _restore(home: Home, vault: Vault, plan: _Plan) -> tuple[int, int, list[str]]:
    """How many files were written, how many stood already, and the images that are lost."""
    snapshot = plan.snapshot
    _refuse_outside(home.root, snapshot)
    mark = {"from": str(vault.root.resolve()), "snapshot": snapshot.name}
    goes_on = home.restoring.exists() and files.read_json(home.restoring) == mark
    may_write = goes_on or plan.replace
    if not may_write and any(path != home.lock for path in home.root.iterdir()):
        msg = f"{home.root} has something in it; nothing was changed (--replace overwrites it)"
        raise BackupError(msg)
    unread = _unread(vault, plan) if plan.without_lost_images or not goes_on else set()
    files.write_json(home.restoring, mark)
    _remove_others(home.root, {one.path for one in snapshot.copied})
    plain = [one for one in snapshot.copied if one.path != SIGNING_KEY]
    written, lost = 0, []
    for one in track(plain, "restore", len(plain)):
        path = home.root / one.path
        if one.sha256 in unread and not _stands(path, one):
            log.error("%s: lost; a night that has it holds the part for review", one.path)
            path.unlink(missing_ok=True)
            lost.append(one.path)
        else:
            written += _write(path, vault, one)
    if plan.key is not None:
        files.write_bytes(home.root / SIGNING_KEY, plan.key, 0o600)
    # Nothing of it may be lost to a power cut once the home counts as whole.
    os.sync()
    home.restoring.unlink()
    return written, len(plain) - written - len(lost), lost


def _unread(vault: Vault, plan: _Plan) -> set[str]:
    """The contents that the vault has lost: none, or those of images where that is accepted."""
    lost = vault.lost(plan.snapshot)
    images = all(one.path.startswith("objects/") for one in lost)
    if lost and not (plan.without_lost_images and images):
        raise BackupError(vault.complaint(plan.snapshot, lost))
    return {one.sha256 for one in lost}


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


def _stands(path: Path, one: Copied) -> bool:
    is_same_size = path.is_file() and path.stat().st_size == one.bytes
    return is_same_size and files.sha256(path) == one.sha256


def _write(path: Path, vault: Vault, one: Copied) -> bool:
    """Write one file unless it stands; True when it was written."""
    if _stands(path, one):
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
