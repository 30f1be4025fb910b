"""The versioned tables of a line (Delta Lake): images, labels, predictions.

Every write is one commit and leaves the same rows when it is repeated.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ml import files
from ml.ahead import in_batches
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
# duplicates of another part's image, as of a camera that stands still. Why, in the words of the
# plan: QUARANTINED and the reason of the quarantine, or SAME_BYTES and the other's object, which is
# the reason of such a duplicate. SAME_PART is that of one whose part has these bytes already.
QUARANTINED = "quarantined: "
SAME_BYTES = "same bytes as "
SAME_PART = "same bytes as an accepted image"
_HELD = (
    "(status = 'quarantined' OR (status = 'duplicate' "
    f"AND reason LIKE '{SAME_BYTES}%' AND reason <> '{SAME_PART}'))"
)
_WHY_HELD = (
    f"CASE status WHEN 'quarantined' THEN '{QUARANTINED}' || coalesce(reason, '') "
    "WHEN 'duplicate' THEN reason END"
)
# What a plan has.
_PLANNED = f"({_USABLE} OR {_HELD})"

_COMMIT_TRIES = 8

# A night commits each shard, and each commit reads the log since the last checkpoint: checkpoints
# more often than every 100 commits, and bounds of the one column that rows are replaced by, make
# 200 commits three times as fast. A table of an older Loupe has neither, and works.
_MANY_COMMITS = {"delta.checkpointInterval": "20", "delta.dataSkippingStatsColumns": "shard"}


_UNPREDICTED = """
SELECT image.day, image.object, image.part, image.n - coalesce(done.n, 0) AS images
FROM (
    SELECT day, object, sha256, {image_held} AS held, min(part) AS part, count(*) AS n
    FROM images WHERE day IN ({days}) AND {planned} GROUP BY day, object, sha256, held
) image LEFT JOIN (
    SELECT day, object, sha256, {row_held} AS held, count(*) AS n
    FROM predictions WHERE day IN ({days}) GROUP BY day, object, sha256, held
) done ON image.day = done.day AND image.object = done.object AND image.sha256 = done.sha256
    AND image.held = done.held
WHERE image.n > coalesce(done.n, 0)
ORDER BY image.day, image.object, image.sha256
"""
# Of a prediction: `is_held_unread`.
_ROW_HELD = (
    f"(coalesce(reason, '') LIKE '{QUARANTINED}%' OR coalesce(reason, '') LIKE '{SAME_BYTES}%')"
)
# Days that are asked for at once: all of them would need the memory of all their names.
_DAYS_AT_ONCE = 31


@contextmanager
def locked(home: Home, line: str) -> Iterator[None]:
    """Hold the catalog of a line while it is read and changed: one process at a time."""
    with files.locked(home.table(line, "images").parent):
        yield


def upsert_images(home: Home, line: str, rows: pa.Table) -> None:
    """Add or replace images by (object, version)."""
    _upsert(home.table(line, "images"), rows.cast(IMAGES), ("object", "version"))


def upsert_labels(home: Home, line: str, rows: pa.Table) -> None:
    """Add or replace labels by (sha256, source)."""
    _upsert(home.table(line, "labels"), rows.cast(LABELS), ("sha256", "source"))


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
        lambda: write_deltalake(
            str(path),
            rows.cast(PREDICTIONS),
            mode="overwrite",
            predicate=f"day = '{day}' AND shard = {shard}",
        )
    )


def drop_shards_from(
    home: Home, line: str, day: str, first: int, name: str = "predictions"
) -> None:
    """Delete the shards of a day from number `first` on: left over from a longer earlier plan."""
    table = _open(home.table(line, name))
    if table is not None:
        _commit(lambda: table.delete(f"day = '{day}' AND shard >= {first}"))


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
    if status == USABLE:
        where.append(_USABLE)
    elif status is not None:
        where.append(f"status IN ({', '.join(map(_quoted, status))})")
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


def read_labels(home: Home, line: str, *, source: str | None = None) -> dict[str, dict[str, Any]]:
    """The label of each image by its SHA-256; a person's review wins over the layout's label.

    With `source` (`layout` or `review`) only the labels that come from there.
    """
    where = [] if source is None else [f"source = {_quoted(source)}"]
    rows = _read(home.table(line, "labels"), LABELS, where).to_pylist()
    ranked = sorted(rows, key=lambda row: row["source"] == "review")
    return {row["sha256"]: row for row in ranked}


def count_unlabelled(
    home: Home, line: str, days: Iterable[str], version: int | None = None
) -> Counter[str]:
    """How many images without a label some days have: to be inspected, not to learn from.

    As `count_images` has them, with the labels that there are now. One that is held counts, but not
    on a day whose usable images all have labels: it is of those to learn from.
    """
    counts: Counter[str] = Counter()
    if not (days := list(days)):
        return counts
    path, known = home.table(line, "images"), labelled(home, line)
    schema = pa.schema([IMAGES.field("day"), IMAGES.field("sha256")])
    for some in in_batches(days, _DAYS_AT_ONCE):
        of_days = f"day IN ({', '.join(map(_quoted, some))})"
        with _readable(path, version):
            rows = _read(path, schema, [of_days, _USABLE], version=version)
            held = _read(path, schema, [of_days, _HELD], version=version)["day"].to_pylist()
        counts.update(rows.filter(pc.invert(pc.is_in(rows["sha256"], known)))["day"].to_pylist())
        learned = set(rows["day"].unique().to_pylist()) - counts.keys()
        counts.update(day for day in held if day not in learned)
    return counts


def labelled(home: Home, line: str) -> pa.Array:
    """The SHA-256 of every image that has a label from the layout."""
    where = ["source = 'layout'"]
    schema = pa.schema([LABELS.field("sha256")])
    return _read(home.table(line, "labels"), schema, where)["sha256"].combine_chunks()


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

    images = _open(home.table(line, "images"))
    predictions = _open(home.table(line, "predictions"))
    if images is None or predictions is None:
        return
    query = QueryBuilder().register("images", images).register("predictions", predictions)
    for some in in_batches(days, _DAYS_AT_ONCE):
        named = ", ".join(map(_quoted, some))
        sql = _UNPREDICTED.format(
            days=named, planned=_PLANNED, image_held=_HELD, row_held=_ROW_HELD
        )
        yield from pa.table(query.execute(sql)).to_pylist()


def version(home: Home, line: str, name: str) -> int:
    """The version of a table; -1 before its first commit."""
    table = _open(home.table(line, name))
    return -1 if table is None else int(table.version())


def _open(path: Path, version: int | None = None) -> Any:
    from deltalake import DeltaTable

    if version == -1 or not DeltaTable.is_deltatable(str(path)):
        return None
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
    return pa.table(rows.execute(f"SELECT {what} FROM rows {condition} {then}"))


def _counted(groups: pa.Table) -> Counter[Any]:
    return Counter(dict(zip(*(column.to_pylist() for column in groups.columns), strict=True)))


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

    def create() -> None:
        DeltaTable.create(
            str(path), schema, mode="ignore", partition_by=partition_by, configuration=properties
        )

    path.mkdir(parents=True, exist_ok=True)
    _commit(create)


def _upsert(path: Path, rows: pa.Table, keys: tuple[str, ...]) -> None:
    if not rows.num_rows:
        return
    _create(path, rows.schema)
    condition = " AND ".join(f"old.{key} = new.{key}" for key in keys)

    def merge() -> None:
        merger = _open(path).merge(rows, condition, source_alias="new", target_alias="old")
        merger.when_matched_update_all().when_not_matched_insert_all().execute()

    _commit(merge)


def _commit(write: Callable[[], object]) -> None:
    """Run a write again when another writer committed first (optimistic concurrency)."""
    from deltalake.exceptions import CommitFailedError

    for attempt in range(_COMMIT_TRIES):
        try:
            write()
        except CommitFailedError:
            if attempt == _COMMIT_TRIES - 1:
                raise
            log.info("another writer committed first; trying again")
            time.sleep(0.1 * 2**attempt)
        else:
            return
