"""Which files of a Delta table a power cut took, and an error that names them.

Delta Lake names a file before the disk has it; what is missing then spoils every step that reads
the table, with an error that names no remedy.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from ml.errors import DataError

# Every Parquet file begins and ends with it; one whose blocks were never written has zeros there.
_MAGIC = b"PAR1"
_NAMED = 3


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Raise DataError that names the damaged files of a table, where an error comes of them."""
    try:
        yield
    except BaseException as error:
        from deltalake.exceptions import CommitFailedError

        # Delta Lake panics on some damage; a panic is no Exception, and its class has no module.
        has_panicked = type(error).__name__ == "PanicException"
        # Another writer is no damage, and its error is the usual one.
        if isinstance(error, DataError | CommitFailedError) or not (
            has_panicked or isinstance(error, Exception)
        ):
            raise
        files = damaged_commits(path) or damaged_files(path)
        if not files and not has_panicked:
            raise
        line = path.parent.name
        named = ", ".join(str(file) for file in files[:_NAMED]) or str(error).splitlines()[0]
        more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
        msg = (
            f"{path}: missing or damaged, as after a power cut: {named}{more}; run "
            f"`loupe catalog repair --line {line}`, or restore a backup"
        )
        raise DataError(msg) from error


def damaged_commits(path: Path) -> list[Path]:
    """Files of a table's log that are empty or cut, sorted: commits and checkpoints."""
    log = path / "_delta_log"
    checkpoints = [one for one in log.glob("*.checkpoint*.parquet") if not _is_parquet(one)]
    return sorted([*(one for one in log.glob("*.json") if not _is_commit(one)), *checkpoints])


def damaged_files(path: Path) -> list[Path]:
    """Data files of the current version that are missing, or not as they were written."""
    try:
        rows = added_files(path)
    except Exception:  # noqa: BLE001 - a log that cannot be opened tells of no file
        return []
    found = [(path / unquote(row["path"]), row["size_bytes"]) for row in rows]
    return sorted(file for file, size in found if not _is_parquet(file, size))


def added_files(path: Path) -> list[dict[str, Any]]:
    """What the log says of each data file of the current version."""
    from deltalake import DeltaTable

    return list(pa.table(DeltaTable(str(path)).get_add_actions(flatten=True)).to_pylist())


def _is_commit(path: Path) -> bool:
    try:
        lines = path.read_text().splitlines()
        return bool(lines) and all(isinstance(json.loads(line), dict) for line in lines)
    except ValueError:
        return False


def _is_parquet(path: Path, size: int | None = None) -> bool:
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            if end < 2 * len(_MAGIC) or (size is not None and end != size):
                return False
            file.seek(-len(_MAGIC), os.SEEK_END)
            return file.read() == _MAGIC
    except FileNotFoundError:
        return False
