"""The predictions of a line (Delta Lake), partitioned by day; each shard is one commit."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from ml.data import catalog, delta
from ml.data.damage import told
from ml.settings import Home

SCHEMA = pa.schema(
    {
        "day": catalog.TEXT,
        "shard": catalog.COUNT,
        "object": catalog.TEXT,
        "sha256": catalog.TEXT,
        "part": catalog.TEXT,
        "lot": catalog.TEXT,
        "camera": catalog.TEXT,
        "captured_at": catalog.TIME,
        "bundle": catalog.TEXT,
        "verdict": catalog.TEXT,
        "reason": catalog.TEXT,
        "p_defect": catalog.NUMBER,
        "defect_type": catalog.TEXT,
        "score_classifier": catalog.NUMBER,
        "score_segmenter": catalog.NUMBER,
        "score_anomaly": catalog.NUMBER,
        "p_classifier": catalog.NUMBER,
        "p_segmenter": catalog.NUMBER,
        "p_anomaly": catalog.NUMBER,
        "area": catalog.NUMBER,
        "regions": catalog.TEXT,
        "embedding": pa.list_(pa.float32()),
    }
)

# A night commits each shard, and each commit reads the log since the last checkpoint: checkpoints
# more often than every 100 commits, and bounds of the one column that rows are replaced by, make
# 200 commits three times as fast. A table of an older Loupe has neither, and works.
_MANY_COMMITS = {"delta.checkpointInterval": "20", "delta.dataSkippingStatsColumns": "shard"}
# Of a night that is over: its shards' small files, and the size that they are put together to. The
# log names all files of all nights, and each commit of the next night reads it.
_MOST_SMALL, _NIGHT_BYTES = 10, 32 << 20


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
    f"(coalesce(reason, '') LIKE '{catalog.QUARANTINED}%' "
    f"OR coalesce(reason, '') LIKE '{catalog.SAME_BYTES}%')"
)


def write_shard(
    home: Home, line: str, day: str, shard: int, rows: pa.Table, name: str = "predictions"
) -> None:
    """Replace one shard of one day in one commit: a repeated shard leaves the same rows.

    `name` is `predictions`, or `shadow` for those of a challenger that scored beside the champion.
    """
    from deltalake import write_deltalake

    path = home.table(line, name)
    delta.create(path, SCHEMA, partition_by=["day"], properties=_MANY_COMMITS)
    delta.commit(
        path,
        lambda table: write_deltalake(
            table,
            rows.cast(SCHEMA),
            mode="overwrite",
            predicate=f"day = '{day}' AND shard = {shard}",
        ),
    )


def pack_day(home: Home, line: str, day: str) -> None:
    """Put the files of a night's shards together: the rows stay, in the order of the shards."""
    for name in ("predictions", "shadow"):
        delta.keep_few_files(home.table(line, name), _MOST_SMALL, _NIGHT_BYTES, day=day)


def days(home: Home, line: str) -> list[str]:
    """The days that have predictions, sorted."""
    table = delta.open_table(home.table(line, "predictions"))
    return [] if table is None else sorted({one["day"] for one in table.partitions()})


def drop_shards_from(
    home: Home, line: str, day: str, first: int, name: str = "predictions"
) -> None:
    """Delete the shards of a day from number `first` on: left over from a longer earlier plan."""
    path = home.table(line, name)
    if delta.open_table(path) is not None:
        delta.commit(path, lambda table: table.delete(f"day = '{day}' AND shard >= {first}"))


def is_held_unread(row: dict[str, Any]) -> bool:
    """Whether a prediction is of an image that its plan holds; nothing else gives these reasons."""
    return (row["reason"] or "").startswith((catalog.QUARANTINED, catalog.SAME_BYTES))


def read(
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
    schema = SCHEMA
    if not embeddings:
        schema = schema.remove(schema.get_field_index("embedding"))
    where = [] if day is None else [f"day = {delta.quoted(day)}"]
    return delta.read(home.table(line, name), schema, where, "day, shard, object, sha256")


def count_by_shard(home: Home, line: str, day: str) -> Counter[int]:
    """How many predictions each shard of a day has; reads no other column."""
    table = delta.open_table(home.table(line, "predictions"))
    if table is None:
        return Counter()
    return delta.counted(
        delta.select(table, "shard, count(*)", [f"day = {delta.quoted(day)}"], "GROUP BY shard")
    )


def read_missing(home: Home, line: str, days: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The images of some days that a plan has and no prediction of their day is for, sorted.

    `day, object, part`, and as `images` how many of these bytes under this name lack one. The row
    of an image that was held unread is none for the same image after a replay accepted it.
    """
    from deltalake import QueryBuilder

    paths = home.table(line, "images"), home.table(line, "predictions")
    images, predictions = map(delta.open_table, paths)
    if images is None or predictions is None:
        return
    planned = _fingerprints(images, catalog.IS_HELD, [catalog.IS_PLANNED])
    done = _fingerprints(predictions, _ROW_HELD)
    query = QueryBuilder().register("images", images).register("predictions", predictions)
    for day in days:
        if planned.get(day) == done.get(day):
            continue
        sql = _UNPREDICTED.format(
            day=delta.quoted(day),
            planned=catalog.IS_PLANNED,
            image_held=catalog.IS_HELD,
            row_held=_ROW_HELD,
        )
        with told(paths[0]), told(paths[1]):
            rows = pa.table(query.execute(sql))
        yield from rows.to_pylist()


def _fingerprints(table: Any, held: str, where: Sequence[str] = ()) -> dict[str, tuple[int, int]]:
    """Of the rows of each day their number, and one that hangs on all their names and bytes.

    And on which of them are `held`, an expression.
    """
    mark = _FINGERPRINT.format(held=held)
    rows = delta.select(table, f"day, count(*) AS n, {mark} AS mark", where, "GROUP BY day")
    return {row["day"]: (row["n"], row["mark"]) for row in rows.to_pylist()}
