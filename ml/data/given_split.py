"""A split that somebody else made, as a CSV, and what leaks across it."""

import csv
import hashlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ml.data.layout import as_listed, describe, some_of
from ml.data.leak import Leak, leaks_among
from ml.data.source import open_source
from ml.errors import DataError, ImageError, SourceError
from ml.imaging import Pixels, decode_rgb
from ml.settings import LineConfig

log = logging.getLogger(__name__)


def leaks_of_split(
    line: LineConfig, source_uri: str, table: Path, column: str, *, threads: int = 1
) -> tuple[list[dict[str, Any]], list[Leak]]:
    """The images that `table` puts into a split (path, split, group), and the leaks among them.

    `table` is a CSV with a `path` column; the split is the text of `column` up to the first `/`.
    Groups come from the line's layout. Images without a split are left out, and the log names
    paths that are no images.
    Raises DataError naming the file and column that are wrong, SourceError naming an image.
    """
    told = _read_splits(table, column)
    source = open_source(source_uri)
    keys = {item.key for item in source.list()}
    facts, spelled = describe(line.source.layout, keys, source.read), as_listed(keys)
    splits = {spelled(path): split for path, split in told.items()}
    if unknown := splits.keys() - facts.keys():
        log.warning(
            "%s: %d of its %d paths are no images of line %s, and their leaks are not known: %s",
            table,
            len(unknown),
            len(splits),
            line.name,
            some_of(unknown),
        )
    rows = [
        {"object": key, "split": splits[key], "group": facts[key].group}
        for key in sorted(splits.keys() & facts.keys())
    ]
    found = sorted({row["split"] for row in rows})
    if len(found) < 2:
        msg = (
            f"{table}: {len(rows)} of its paths are images of line {line.name}, and `{column}` "
            f"puts them into {found or 'no split'}; at least two splits are needed"
        )
        raise DataError(msg)
    for row in rows:
        row["sha256"] = hashlib.sha256(source.read(row["object"])).hexdigest()

    def read(row: dict[str, Any]) -> Pixels:
        return _decode(row["object"], source.read(row["object"]), line.source.bits)

    return rows, leaks_among(rows, read, threads)


def confirmed(rows: list[dict[str, Any]], leaks: list[Leak]) -> Iterator[Leak]:
    """The copies of which both images also have the same group."""
    group = {row["object"]: row["group"] for row in rows}
    return (x for x in leaks if x.kind == "copy" and group[x.first] == group[x.second])


def _read_splits(table: Path, column: str) -> dict[str, str]:
    try:
        rows = csv.DictReader(io.StringIO(table.read_text(encoding="utf-8-sig")))
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{table}: cannot be read as a CSV: {error}"
        raise DataError(msg) from error
    if missing := {"path", column} - set(rows.fieldnames or ()):
        msg = f"{table}: no column {sorted(missing)}; it has {list(rows.fieldnames or ())}"
        raise DataError(msg)
    return {row["path"]: row[column].split("/")[0] for row in rows if row[column]}


def _decode(key: str, content: bytes, bits: int | None) -> Pixels:
    try:
        return decode_rgb(content, bits=bits)
    except ImageError as error:
        msg = f"{key}: {error}"
        raise SourceError(msg) from error
