"""The schema version of a home's catalog, and what makes an older one current.

Schema 1 (without a version file) is that of a Loupe whose tables lack columns. Each upgrade is
repeated until the version file says that it is done, so every one must bear to run twice.
"""

import logging
from collections.abc import Callable
from pathlib import Path

from ml import files
from ml.errors import BackupError, DataError
from ml.settings import Home

log = logging.getLogger(__name__)

SCHEMA = 2


def ensure_current(home: Home) -> None:
    """Upgrade the catalog of a home written by an older Loupe; one process does it, others wait.

    Raises DataError when a newer Loupe wrote it, BackupError when the home is half restored.
    """
    check_usable(home)
    # A home without tables has nothing to upgrade, and may be read-only.
    if not home.schema.parent.is_dir() or _version(home.schema) == SCHEMA:
        return
    with files.locked(home.schema.parent):
        for version in range(_version(home.schema), SCHEMA):
            _UPGRADES[version](home.schema.parent)
            files.write_json(home.schema, {"schema": version + 1})


def check_usable(home: Home) -> None:
    """Raises DataError when a newer Loupe wrote the home, BackupError when it is half restored."""
    if home.restoring.exists():
        msg = f"{home.root} is half restored; run the same `loupe restore` again first"
        raise BackupError(msg)
    _version(home.schema)


def _version(path: Path) -> int:
    if not path.exists():
        return 1
    try:
        version = int(files.read_json(path)["schema"])
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{path}: not a schema version ({error}); restore it from a backup"
        raise DataError(msg) from error
    if version > SCHEMA:
        msg = (
            f"{path}: a newer Loupe wrote this catalog (schema {version}; this one knows up to "
            f"{SCHEMA}); install that one again, or restore a backup from before it"
        )
        raise DataError(msg)
    return version


def _add_columns(folder: Path) -> None:
    """Every table gets the columns that it lacks; its rows have null there."""
    from deltalake import DeltaTable, Schema

    from ml.data import catalog, predicted

    schemas = {
        "images": catalog.IMAGES,
        "labels": catalog.LABELS,
        "predictions": predicted.SCHEMA,
    }
    for path in sorted(folder.glob("*/*/_delta_log")):
        table = DeltaTable(str(path.parent))
        wanted = schemas.get(path.parent.name)
        if wanted is None:
            continue
        known = {field.name for field in table.schema().fields}
        missing = [one for one in Schema.from_arrow(wanted).fields if one.name not in known]
        if missing:
            log.info("%s: adding columns %s", path.parent, [one.name for one in missing])
            table.alter.add_columns(missing)


# What leads from a schema to the next one.
_UPGRADES: dict[int, Callable[[Path], None]] = {1: _add_columns}
