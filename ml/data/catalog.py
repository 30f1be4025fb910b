"""The versioned tables of a line (Delta Lake): images, labels, predictions.

Every write is one commit and leaves the same rows when it is repeated.
"""

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from ml import files
from ml.data.damage import told
from ml.errors import DataError
from ml.settings import Home

log = logging.getLogger(__name__)

_TEXT, _NUMBER, _COUNT = pa.string(), pa.float64(), pa.int64()
_TIME = pa.timestamp("us", tz="UTC")

IMAGES = pa.schema(
    {
        "object": _TEXT,
        "version": _TEXT,
        "sha256": _TEXT,
        "status": _TEXT,
        "reason": _TEXT,
        "bytes": _COUNT,
        "width": _COUNT,
        "height": _COUNT,
        "aspect": _NUMBER,
        "brightness": _NUMBER,
        "contrast": _NUMBER,
        "sharpness": _NUMBER,
        "colourfulness": _NUMBER,
        "phash": _TEXT,
        "part": _TEXT,
        "lot": _TEXT,
        "group": _TEXT,
        "camera": _TEXT,
        "captured_at": _TIME,
        "day": _TEXT,
        "batch": _TEXT,
    }
)

LABELS = pa.schema(
    {
        "sha256": _TEXT,
        "label": _TEXT,
        "defect_type": _TEXT,
        "mask": _TEXT,
        "source": _TEXT,
        "by": _TEXT,
        "at": _TEXT,
    }
)

PREDICTIONS = pa.schema(
    {
        "day": _TEXT,
        "shard": _COUNT,
        "object": _TEXT,
        "sha256": _TEXT,
        "part": _TEXT,
        "lot": _TEXT,
        "camera": _TEXT,
        "captured_at": _TIME,
        "bundle": _TEXT,
        "verdict": _TEXT,
        "reason": _TEXT,
        "p_defect": _NUMBER,
        "defect_type": _TEXT,
        "score_classifier": _NUMBER,
        "score_segmenter": _NUMBER,
        "score_anomaly": _NUMBER,
        "p_classifier": _NUMBER,
        "p_segmenter": _NUMBER,
        "p_anomaly": _NUMBER,
        "area": _NUMBER,
        "regions": _TEXT,
        "embedding": pa.list_(pa.float32()),
    }
)

# Images that nights inspect: accepted ones, also those whose object was replaced since, but not by
# a version of the same day (their reason is OUTDATED): no part has two verdicts.
USABLE = ("accepted", "replaced")
OUTDATED = "a newer version of this object was accepted for the same day"
_USABLE = f"(status = 'accepted' OR (status = 'replaced' AND reason <> '{OUTDATED}'))"

# Images that a night holds unread, since nobody knows how their parts look: quarantined ones, and
# copies of another part's image, as of a camera that stands still. Why, in the words of the plan:
# QUARANTINED and the reason of the quarantine, or SAME_BYTES and the other's object, which is the
# reason of such a copy, also where it took the other's place. SAME_PART is that of one whose part
# has these bytes already.
QUARANTINED = "quarantined: "
SAME_BYTES = "same bytes as "
SAME_PART = "same bytes as an accepted image"
_HELD = (
    "(status = 'quarantined' OR (status IN ('accepted', 'duplicate') "
    f"AND coalesce(reason, '') LIKE '{SAME_BYTES}%' AND reason <> '{SAME_PART}'))"
)
_WHY_HELD = (
    f"CASE WHEN status = 'quarantined' THEN '{QUARANTINED}' || coalesce(reason, '') "
    f"WHEN {_HELD} THEN reason END"
)
# What a plan has.
_PLANNED = f"({_USABLE} OR {_HELD})"

_COMMIT_TRIES = 8

# A night commits each shard, and each commit reads the log since the last checkpoint: checkpoints
# more often than every 100 commits, and bounds of the one column that rows are replaced by, make
# 200 commits three times as fast. A table of an older Loupe has neither, and works.
_MANY_COMMITS = {"delta.checkpointInterval": "20", "delta.dataSkippingStatsColumns": "shard"}


_UNLABELLED = """
SELECT count(*) AS n FROM images WHERE {where} AND NOT EXISTS (
    SELECT 1 FROM labels WHERE labels.source = 'layout' AND labels.sha256 = images.sha256
)
"""

# More than so many files below a size are put together into some of about another. A merge holds
# whole files in memory, so they are not made large: of this size they have some 100,000 rows.
_SMALL_FILES = 50
_SMALL_BYTES = 1 << 20
_WHOLE_BYTES = 8 << 20

# Eighteen digits of the MD5 of each row, which is quick; their order does not count.
_NAMED = "object || ' ' || sha256 || CASE WHEN {held} THEN ' held' ELSE '' END"
_DIGITS = f"translate(substr(md5({_NAMED}), 1, 18), 'abcdef', '012345')"
_FINGERPRINT = f"bit_xor(CAST({_DIGITS} AS BIGINT))"

# Of one day: those of all would need the memory of all their names.
_UNPREDICTED = """
SELECT image.day, image.object, image.part, image.n - coalesce(done.n, 0) AS images
FROM (
    SELECT day, object, sha256, {image_held} AS held, min(part) AS part, count(*) AS n
    FROM images WHERE day = {day} AND {planned} GROUP BY day, object, sha256, held
) image LEFT JOIN (
    SELECT object, sha256, {row_held} AS held, count(*) AS n
    FROM predictions WHERE day = {day} GROUP BY object, sha256, held
) done ON image.object = done.object AND image.sha256 = done.sha256 AND image.held = done.held
WHERE image.n > coalesce(done.n, 0)
ORDER BY image.object, image.sha256
"""
# Of a prediction: `is_held_unread`.
_ROW_HELD = (
    f"(coalesce(reason, '') LIKE '{QUARANTINED}%' OR coalesce(reason, '') LIKE '{SAME_BYTES}%')"
)


@contextmanager
def locked(home: Home, line: str) -> Iterator[None]:
    """Hold the catalog of a line while it is read and changed: one process at a time."""
    with files.locked(home.table(line, "images").parent):
        yield


def upsert_images(home: Home, line: str, rows: pa.Table) -> None:
    """Add or replace images by (object, version)."""
    _upsert(home.table(line, "images"), rows.cast(IMAGES), ("object", "version"), near="day")


def upsert_labels(home: Home, line: str, rows: pa.Table) -> None:
    """Add or replace labels by (sha256, source); those that stand already cost nothing."""
    path, rows = home.table(line, "labels"), rows.cast(LABELS)
    known = {tuple(row.values()) for row in _among(path, LABELS, {"sha256": rows}).to_pylist()}
    is_new = [tuple(row.values()) not in known for row in rows.to_pylist()]
    _upsert(path, rows.filter(pa.array(is_new, pa.bool_())), ("sha256", "source"))


def write_predictions(
    home: Home, line: str, day: str, shard: int, rows: pa.Table, name: str = "predictions"
) -> None:
    """Replace one shard of one day in one commit: a repeated shard leaves the same rows.

    `name` is `predictions`, or `shadow` for those of a challenger that scored beside the champion.
    """
    from deltalake import write_deltalake

    path = home.table(line, name)
    _create(path, PREDICTIONS, partition_by=["day"], properties=_MANY_COMMITS)
    _commit(
        path,
        lambda table: write_deltalake(
            table,
            rows.cast(PREDICTIONS),
            mode="overwrite",
            predicate=f"day = '{day}' AND shard = {shard}",
        ),
    )


def drop_shards_from(
    home: Home, line: str, day: str, first: int, name: str = "predictions"
) -> None:
    """Delete the shards of a day from number `first` on: left over from a longer earlier plan."""
    path = home.table(line, name)
    if _open(path) is not None:
        _commit(path, lambda table: table.delete(f"day = '{day}' AND shard >= {first}"))


def read_images(
    home: Home,
    line: str,
    *,
    day: str | None = None,
    until: str | None = None,
    batch: str | None = None,
    status: Sequence[str] | None = USABLE,
    version: int | None = None,
    columns: Sequence[str] = tuple(IMAGES.names),
) -> pa.Table:
    """Images sorted by object; of one day or batch, or captured up to and with `until`.

    Of a day only the files that have it are read.

    By default every image that was accepted, also those whose object was replaced on a later day:
    nights and datasets that have them keep them. As they are now, or as version `version` of the
    table has them (-1: before its first commit); raises DataError when that version is gone.
    """
    where = [] if day is None else [f"day = {_quoted(day)}"]
    where += _of_status(status)
    if until is not None:
        where.append(f"day <= {_quoted(until)}")
    if batch is not None:
        where.append(f"batch = {_quoted(batch)}")
    path = home.table(line, "images")
    schema = pa.schema([IMAGES.field(name) for name in columns])
    with _readable(path, version):
        return _read(path, schema, where, "object, version", version)


def read_planned(
    home: Home,
    line: str,
    day: str,
    version: int | None = None,
    columns: Sequence[str] = tuple(IMAGES.names),
) -> pa.Table:
    """What a plan of a day has: its usable images and those that are held, sorted by object.

    The column `held` says why an image is held unread; null where it is inspected. `version` is
    that of `read_images`.
    """
    path = home.table(line, "images")
    schema = pa.schema([*(IMAGES.field(name) for name in columns), pa.field("held", _TEXT)])
    where = [f"day = {_quoted(day)}", _PLANNED]
    with _readable(path, version):
        return _read(path, schema, where, "object, version", version, {"held": _WHY_HELD})


def is_held_unread(row: dict[str, Any]) -> bool:
    """Whether a prediction is of an image that its plan holds; nothing else gives these reasons."""
    return (row["reason"] or "").startswith((QUARANTINED, SAME_BYTES))


def read_images_of(
    home: Home,
    line: str,
    columns: Sequence[str],
    *,
    objects: pa.Array | None = None,
    sha256: pa.Array | None = None,
    day: str | None = None,
    status: Sequence[str] | None = None,
) -> pa.Table:
    """Images with one of these names, or of these bytes, sorted like `read_images`.

    The table is read piece by piece: only what is found is in memory.
    """
    values = {"object": objects, "sha256": sha256}
    among = {name: one for name, one in values.items() if one is not None}
    schema = pa.schema(
        [IMAGES.field(name) for name in dict.fromkeys([*columns, *among, "object", "version"])]
    )
    where = [] if day is None else [f"day = {_quoted(day)}"]
    rows = _among(home.table(line, "images"), schema, among, [*where, *_of_status(status)])
    return rows.sort_by([("object", "ascending"), ("version", "ascending")]).select(columns)


def count_batches(home: Home, line: str, most: int) -> tuple[int, list[dict[str, Any]]]:
    """How many batches the images are of, and of the `most` with the newest days what they have.

    `batch, first` and `last` day, and how many images of each status, as `statuses`.
    """
    table = _open(home.table(line, "images"))
    if table is None:
        return 0, []
    count = _select(table, "count(DISTINCT batch) AS n")["n"][0].as_py()
    newest = f"GROUP BY batch ORDER BY last DESC, batch DESC LIMIT {most}"
    what = "batch, min(day) AS first, max(day) AS last"
    found = _select(table, what, ["batch IS NOT NULL"], newest).to_pylist()
    if not found:
        return count, []
    # Batches of the same last day may be far more than are asked for.
    where = [f"batch IN ({', '.join(_quoted(row['batch']) for row in found)})"]
    counted = _select(table, "batch, status, count(*) AS n", where, "GROUP BY batch, status")
    statuses: dict[str, dict[str, int]] = {row["batch"]: {} for row in found}
    for row in counted.to_pylist():
        statuses[row["batch"]][row["status"]] = row["n"]
    return count, [row | {"statuses": statuses[row["batch"]]} for row in found]


def count_reasons(home: Home, line: str) -> list[dict[str, Any]]:
    """How many images have each `status` and `reason`, as `n`."""
    table = _open(home.table(line, "images"))
    if table is None:
        return []
    what = "status, reason, count(*) AS n"
    return list(_select(table, what, then="GROUP BY status, reason").to_pylist())


def batches_among(home: Home, line: str, names: Collection[str], version: int) -> set[str]:
    """Which of some batches the table of images had rows of in a version.

    Raises DataError when that version is gone.
    """
    path = home.table(line, "images")
    where = [f"batch IN ({', '.join(map(_quoted, sorted(names)))})"]
    with _readable(path, version):
        table = _open(path, version)
        if table is None or not names:
            return set()
        return set(_select(table, "DISTINCT batch", where)["batch"].to_pylist())


def count_images(
    home: Home, line: str, *, until: str | None = None, version: int | None = None
) -> Counter[str]:
    """How many images each day has of those that a plan has; or had in a `version`."""
    path = home.table(line, "images")
    where = [_PLANNED] if until is None else [_PLANNED, f"day <= {_quoted(until)}"]
    with _readable(path, version):
        table = _open(path, version)
        if table is None:
            return Counter()
        return _counted(_select(table, "day, count(*)", where, "GROUP BY day"))


def read_labels(
    home: Home, line: str, *, source: str | None = None, of: pa.Array | None = None
) -> dict[str, dict[str, Any]]:
    """The label of each image by its SHA-256; a person's review wins over the layout's label.

    With `source` (`layout` or `review`) only the labels that come from there; only those `of`
    some SHA-256.
    """
    where = [] if source is None else [f"source = {_quoted(source)}"]
    among = {} if of is None else {"sha256": of}
    rows = _among(home.table(line, "labels"), LABELS, among, where).to_pylist()
    ranked = sorted(rows, key=lambda row: row["source"] == "review")
    return {row["sha256"]: row for row in ranked}


def count_unlabelled(
    home: Home, line: str, days: Iterable[str], version: int | None = None
) -> Counter[str]:
    """How many images without a label some days have: to be inspected, not to learn from.

    As `count_images` has them, with the labels that there are now. One that is held counts, but not
    on a day whose usable images all have labels: it is of those to learn from.
    """
    from deltalake import QueryBuilder

    counts: Counter[str] = Counter()
    path, labels = home.table(line, "images"), _open(home.table(line, "labels"))
    for day in days:
        of_day = f"day = {_quoted(day)}"
        with _readable(path, version), told(path):
            if (images := _open(path, version)) is None:
                break
            inspected = f"{_USABLE} AND NOT {_HELD}"
            usable, held = (_count(images, [of_day, kind]) for kind in (inspected, _HELD))
            new = usable
            if labels is not None:
                query = QueryBuilder().register("images", images).register("labels", labels)
                sql = _UNLABELLED.format(where=f"{of_day} AND {inspected}")
                new = pa.table(query.execute(sql))["n"][0].as_py()
        if new or not usable:
            new += held
        counts.update({day: new} if new else {})
    return counts


def labelled(home: Home, line: str, of: pa.Array) -> pa.Array:
    """Which of some SHA-256 have a label from the layout."""
    schema = pa.schema([LABELS.field("sha256")])
    rows = _among(home.table(line, "labels"), schema, {"sha256": of}, ["source = 'layout'"])
    return rows["sha256"].combine_chunks()


def read_predictions(
    home: Home,
    line: str,
    *,
    day: str | None = None,
    embeddings: bool = True,
    name: str = "predictions",
) -> pa.Table:
    """Predictions (or those of the `shadow`) sorted by day, shard, object and SHA-256.

    Without `embeddings` there is far less to read.
    """
    schema = PREDICTIONS
    if not embeddings:
        schema = schema.remove(schema.get_field_index("embedding"))
    where = [] if day is None else [f"day = {_quoted(day)}"]
    return _read(home.table(line, name), schema, where, "day, shard, object, sha256")


def count_predictions(home: Home, line: str, day: str) -> Counter[int]:
    """How many predictions each shard of a day has; reads no other column."""
    table = _open(home.table(line, "predictions"))
    if table is None:
        return Counter()
    return _counted(_select(table, "shard, count(*)", [f"day = {_quoted(day)}"], "GROUP BY shard"))


def read_unpredicted(home: Home, line: str, days: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The images of some days that a plan has and no prediction of their day is for, sorted.

    `day, object, part`, and as `images` how many of these bytes under this name lack one. The row
    of an image that was held unread is none for the same image after a replay accepted it.
    """
    from deltalake import QueryBuilder

    paths = home.table(line, "images"), home.table(line, "predictions")
    images, predictions = map(_open, paths)
    if images is None or predictions is None:
        return
    planned = _fingerprints(images, _HELD, [_PLANNED])
    done = _fingerprints(predictions, _ROW_HELD)
    query = QueryBuilder().register("images", images).register("predictions", predictions)
    for day in days:
        if planned.get(day) == done.get(day):
            continue
        sql = _UNPREDICTED.format(
            day=_quoted(day), planned=_PLANNED, image_held=_HELD, row_held=_ROW_HELD
        )
        with told(paths[0]), told(paths[1]):
            rows = pa.table(query.execute(sql))
        yield from rows.to_pylist()


def _fingerprints(table: Any, held: str, where: Sequence[str] = ()) -> dict[str, tuple[int, int]]:
    """Of the rows of each day their number, and one that hangs on all their names and bytes.

    And on which of them are `held`, an expression.
    """
    mark = _FINGERPRINT.format(held=held)
    rows = _select(table, f"day, count(*) AS n, {mark} AS mark", where, "GROUP BY day")
    return {row["day"]: (row["n"], row["mark"]) for row in rows.to_pylist()}


def version(home: Home, line: str, name: str) -> int:
    """The version of a table; -1 before its first commit."""
    table = _open(home.table(line, name))
    return -1 if table is None else int(table.version())


def _open(path: Path, version: int | None = None) -> Any:
    from deltalake import DeltaTable

    if version == -1 or not DeltaTable.is_deltatable(str(path)):
        return None
    with told(path):
        return DeltaTable(str(path), version=version)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _read(
    path: Path,
    schema: pa.Schema,
    where: Sequence[str] = (),
    order: str = "",
    version: int | None = None,
    made: Mapping[str, str] = MappingProxyType({}),
) -> pa.Table:
    """The columns of a table that it has, and those `made` by an expression, by name."""
    table = _open(path, version)
    if table is None:
        return schema.empty_table()
    here = {field.name for field in table.schema().fields}
    known = [f'"{name}"' for name in schema.names if name in here]
    columns = ", ".join([*known, *(f'{sql} AS "{name}"' for name, sql in made.items())])
    return _completed(_select(table, columns, where, f"ORDER BY {order}" if order else ""), schema)


@contextmanager
def _readable(path: Path, version: int | None) -> Iterator[None]:
    """Say of an old version of a table that it is gone."""
    from deltalake.exceptions import DeltaError

    try:
        yield
    except (DeltaError, pa.ArrowException) as error:
        if version is None:
            raise
        msg = f"{path}: version {version} can no longer be read; plan the night anew: {error}"
        raise DataError(msg) from error


def _select(table: Any, what: str, where: Sequence[str] = (), then: str = "") -> pa.Table:
    """The answer to a query; files that cannot have such rows are not opened."""
    from deltalake import QueryBuilder

    condition = f"WHERE {' AND '.join(where)}" if where else ""
    rows = QueryBuilder().register("rows", table)
    with told(_path_of(table)):
        return pa.table(rows.execute(f"SELECT {what} FROM rows {condition} {then}"))


def _count(table: Any, where: Sequence[str]) -> int:
    return int(_select(table, "count(*) AS n", where)["n"][0].as_py())


def _among(
    path: Path,
    schema: pa.Schema,
    among: Mapping[str, pa.Array | pa.Table],
    where: Sequence[str] = (),
) -> pa.Table:
    """The rows of which one of some columns has one of some values, read piece by piece.

    Of a table of values its column of that name. All rows when no column is named.
    """
    import pyarrow.dataset as ds
    from deltalake import QueryBuilder

    if (table := _open(path)) is None:
        return schema.empty_table()
    wanted: pc.Expression | None = None
    for name, values in among.items():
        values = values[name] if isinstance(values, pa.Table) else values
        one = pc.field(name).isin(values.combine_chunks() if _is_chunked(values) else values)
        wanted = one if wanted is None else wanted | one
    here = {field.name for field in table.schema().fields}
    columns = ", ".join(f'"{name}"' for name in schema.names if name in here)
    condition = f"WHERE {' AND '.join(where)}" if where else ""
    query = QueryBuilder().register("rows", table)
    with told(path):
        pieces = query.execute(f"SELECT {columns} FROM rows {condition}")
        whole = (_completed(pa.table(piece), schema) for piece in pieces)
        batches = (batch for piece in whole for batch in piece.to_batches())
        # A scanner prepares a million values once, and not for every piece.
        return ds.Scanner.from_batches(batches, schema=schema, filter=wanted).to_table()


def _is_chunked(values: Any) -> bool:
    return isinstance(values, pa.ChunkedArray)


def _path_of(table: Any) -> Path:
    return Path(unquote(urlsplit(table.table_uri).path))


def _counted(groups: pa.Table) -> Counter[Any]:
    return Counter(dict(zip(*(column.to_pylist() for column in groups.columns), strict=True)))


def _of_status(status: Sequence[str] | None) -> list[str]:
    if status == USABLE:
        return [_USABLE]
    return [] if status is None else [f"status IN ({', '.join(map(_quoted, status))})"]


def _completed(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns of the schema; those that a table of an older Loupe lacks are null."""
    for name in set(schema.names) - set(rows.column_names):
        kind = schema.field(name).type
        rows = rows.append_column(name, pa.nulls(rows.num_rows, kind))
    return rows.select(schema.names).cast(schema)


def _create(
    path: Path,
    schema: pa.Schema,
    partition_by: list[str] | None = None,
    properties: dict[str, str] | None = None,
) -> None:
    from deltalake import DeltaTable

    if DeltaTable.is_deltatable(str(path)):
        return
    path.mkdir(parents=True, exist_ok=True)
    DeltaTable.create(
        str(path), schema, mode="ignore", partition_by=partition_by, configuration=properties
    )
    _sync(path, [0])


def _upsert(path: Path, rows: pa.Table, keys: tuple[str, ...], near: str | None = None) -> None:
    """Add rows, or replace those of the same keys, in one commit.

    What the table has of the keys is looked up first: a merge holds all rows of the files that it
    may find them in. Where there are none it only adds; else only files that have one of the
    values of the column `near` of those rows are merged.
    """
    if not rows.num_rows:
        return
    _create(path, rows.schema)
    names = [*keys, near] if near else [*keys]
    schema = pa.schema([rows.schema.field(name) for name in names])

    def write(table: Any) -> None:
        from deltalake import write_deltalake

        found = _among(path, schema, {keys[0]: rows})
        known = found.join(rows.select(keys), [*keys], join_type="inner")
        if not known.num_rows:
            write_deltalake(table, rows, mode="append")
            return
        condition = [f"old.{key} = new.{key}" for key in keys]
        values: set[Any] = set(known[near].to_pylist()) if near else {None}
        if None not in values:
            condition.append(f"old.{near} IN ({', '.join(map(_quoted, sorted(values)))})")
        merger = table.merge(rows, " AND ".join(condition), source_alias="new", target_alias="old")
        merger.when_matched_update_all().when_not_matched_insert_all().execute()

    _commit(path, write)
    _compact(path)


def _compact(path: Path) -> None:
    """Put many small files together: each commit leaves one, and every reader opens them all.

    Earlier versions of the table keep the files that they are of.
    """
    files_of = pa.table(_open(path).get_add_actions())
    if sum(size < _SMALL_BYTES for size in files_of["size_bytes"].to_pylist()) > _SMALL_FILES:
        whole = {"target_size": _WHOLE_BYTES, "max_concurrent_tasks": 1}
        _commit(path, lambda table: table.optimize.compact(**whole))


def _commit(path: Path, write: Callable[[Any], object]) -> None:
    """Run a write of the table again when another writer committed first (optimistic concurrency).

    What it wrote is on the disk afterwards, as documents and ledgers are that tell of it.
    """
    from deltalake.exceptions import CommitFailedError

    for attempt in range(_COMMIT_TRIES):
        table = _open(path)
        before = int(table.version())
        try:
            with told(path):
                write(table)
        except CommitFailedError:
            if attempt == _COMMIT_TRIES - 1:
                raise
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
