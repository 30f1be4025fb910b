"""A Delta table: read, added to, merged and kept in few files; it knows nothing of what is in it.

Every write is one commit, which is on the disk when it is done.
"""

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from ml import files
from ml.data.damage import told
from ml.errors import DataError, StorageError

log = logging.getLogger(__name__)

_COMMIT_TRIES = 8

# A merge holds whole files in memory, so they are not made large: of this size they have some
# 100,000 rows.
_MOST_SMALL = 50
_WHOLE_BYTES = 8 << 20


def open_table(path: Path, version: int | None = None) -> Any:
    from deltalake import DeltaTable

    if version == -1 or not DeltaTable.is_deltatable(str(path)):
        return None
    with told(path):
        return DeltaTable(str(path), version=version)


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def read(
    path: Path,
    schema: pa.Schema,
    where: Sequence[str] = (),
    order: str = "",
    version: int | None = None,
    made: Mapping[str, str] = MappingProxyType({}),
) -> pa.Table:
    """The columns of a table that it has, and those `made` by an expression, by name."""
    table = open_table(path, version)
    if table is None:
        return schema.empty_table()
    here = {field.name for field in table.schema().fields}
    known = [f'"{name}"' for name in schema.names if name in here]
    columns = ", ".join([*known, *(f'{sql} AS "{name}"' for name, sql in made.items())])
    return completed(select(table, columns, where, f"ORDER BY {order}" if order else ""), schema)


@contextmanager
def readable(path: Path, version: int | None) -> Iterator[None]:
    """Say of an old version of a table that it is gone."""
    from deltalake.exceptions import DeltaError

    try:
        yield
    except (DeltaError, pa.ArrowException) as error:
        if version is None:
            raise
        msg = f"{path}: version {version} can no longer be read; plan the night anew: {error}"
        raise DataError(msg) from error


def select(table: Any, what: str, where: Sequence[str] = (), then: str = "") -> pa.Table:
    """The answer to a query; files that cannot have such rows are not opened."""
    from deltalake import QueryBuilder

    condition = f"WHERE {' AND '.join(where)}" if where else ""
    rows = QueryBuilder().register("rows", table)
    with told(_path_of(table)):
        return pa.table(rows.execute(f"SELECT {what} FROM rows {condition} {then}"))


def count(table: Any, where: Sequence[str]) -> int:
    return int(select(table, "count(*) AS n", where)["n"][0].as_py())


def among(
    path: Path,
    schema: pa.Schema,
    values_of: Mapping[str, pa.Array | pa.ChunkedArray],
    where: Sequence[str] = (),
) -> pa.Table:
    """The rows of which one of some columns has one of some values, read piece by piece.

    All rows when no column is named.
    """
    import pyarrow.dataset as ds
    from deltalake import QueryBuilder

    if (table := open_table(path)) is None:
        return schema.empty_table()
    wanted: pc.Expression | None = None
    for name, values in values_of.items():
        whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
        one = pc.field(name).isin(whole)
        wanted = one if wanted is None else wanted | one
    here = {field.name for field in table.schema().fields}
    columns = ", ".join(f'"{name}"' for name in schema.names if name in here)
    condition = f"WHERE {' AND '.join(where)}" if where else ""
    query = QueryBuilder().register("rows", table)
    with told(path):
        pieces = query.execute(f"SELECT {columns} FROM rows {condition}")
        tables = (completed(pa.table(piece), schema) for piece in pieces)
        batches = (batch for table in tables for batch in table.to_batches())
        # A scanner prepares a million values once, and not for every piece.
        return ds.Scanner.from_batches(batches, schema=schema, filter=wanted).to_table()


def _path_of(table: Any) -> Path:
    return Path(unquote(urlsplit(table.table_uri).path))


def counted(groups: pa.Table) -> Counter[Any]:
    return Counter(dict(zip(*(column.to_pylist() for column in groups.columns), strict=True)))


def completed(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns of the schema; those that a table of an older Loupe lacks are null."""
    for name in set(schema.names) - set(rows.column_names):
        kind = schema.field(name).type
        rows = rows.append_column(name, pa.nulls(rows.num_rows, kind))
    return rows.select(schema.names).cast(schema)


def create(
    path: Path,
    schema: pa.Schema,
    partition_by: list[str] | None = None,
    properties: dict[str, str] | None = None,
) -> None:
    from deltalake import DeltaTable
    from deltalake.exceptions import CommitFailedError

    if DeltaTable.is_deltatable(str(path)):
        return
    path.mkdir(parents=True, exist_ok=True)
    try:
        DeltaTable.create(
            str(path), schema, mode="ignore", partition_by=partition_by, configuration=properties
        )
    except CommitFailedError:
        # Two shards of a line's first night may make it in the same moment.
        if not DeltaTable.is_deltatable(str(path)):
            raise
    _sync(path, [0])


def upsert(path: Path, rows: pa.Table, keys: tuple[str, ...], near: str | None = None) -> None:
    """Add rows, or replace those of the same keys, in one commit.

    What the table has of the keys is looked up first: a merge holds all rows of the files that it
    may find them in. Where there are none it only adds; else only files that have one of the
    values of the column `near` of those rows are merged.
    """
    if not rows.num_rows:
        return
    create(path, rows.schema)
    names = [*keys, near] if near else [*keys]
    schema = pa.schema([rows.schema.field(name) for name in names])

    def write(table: Any) -> None:
        from deltalake import write_deltalake

        found = among(path, schema, {keys[0]: rows[keys[0]]})
        known = found.join(rows.select(keys), [*keys], join_type="inner")
        if not known.num_rows:
            write_deltalake(table, rows, mode="append")
            return
        condition = [f"old.{key} = new.{key}" for key in keys]
        values: set[Any] = set(known[near].to_pylist()) if near else {None}
        if None not in values:
            condition.append(f"old.{near} IN ({', '.join(map(quoted, sorted(values)))})")
        merger = table.merge(rows, " AND ".join(condition), source_alias="new", target_alias="old")
        merger.when_matched_update_all().when_not_matched_insert_all().execute()

    commit(path, write)
    keep_few_files(path, _MOST_SMALL, _WHOLE_BYTES)


def keep_few_files(path: Path, most: int, whole: int, **partition: str) -> None:
    """Put more than `most` small files together into some of about `whole` bytes.

    Each commit leaves a small one (below an eighth of `whole`), and every reader opens them all.
    Of one partition where it is given. Earlier versions of the table keep the files that they are
    of.
    """
    if (table := open_table(path)) is None:
        return
    found = pa.table(table.get_add_actions(flatten=True))
    for name, value in partition.items():
        found = found.filter(pc.field(f"partition.{name}") == value)
    if sum(8 * size < whole for size in found["size_bytes"].to_pylist()) <= most:
        return
    options: dict[str, Any] = {"target_size": whole, "max_concurrent_tasks": 1}
    if partition:
        options["partition_filters"] = [(name, "=", value) for name, value in partition.items()]
    commit(path, lambda table: table.optimize.compact(**options))


def commit(path: Path, write: Callable[[Any], object]) -> None:
    """Run a write of the table again when another writer committed first (optimistic concurrency).

    What it wrote is on the disk afterwards, as documents and ledgers are that tell of it. Raises
    StorageError when others came first each time: a retry of the step cures that.
    """
    from deltalake.exceptions import CommitFailedError

    for attempt in range(_COMMIT_TRIES):
        table = open_table(path)
        before = int(table.version())
        try:
            with told(path):
                write(table)
        except CommitFailedError as error:
            if attempt == _COMMIT_TRIES - 1:
                others = f"other writers committed first, {_COMMIT_TRIES} times"
                msg = f"{path}: {others}; run the same command again: {error}"
                raise StorageError(msg) from error
            log.info("another writer committed first; trying again")
            time.sleep(0.1 * 2**attempt)
        else:
            _sync(path, range(before + 1, int(table.version()) + 1))
            return


def _sync(path: Path, versions: Iterable[int]) -> None:
    """Let the disk have some commits and the files that they added; Delta Lake does not."""
    written = {path}
    for version in versions:
        commit = path / "_delta_log" / f"{version:020d}.json"
        for entry in map(json.loads, commit.read_text().splitlines()):
            if "add" in entry:
                added = path / unquote(entry["add"]["path"])
                written |= {added, added.parent}
        written |= {commit, commit.with_suffix(".checkpoint.parquet")}
        written |= {commit.parent, commit.with_name("_last_checkpoint")}
    for one in sorted(written, reverse=True):
        # Files before the folders that name them.
        files.sync(one)
