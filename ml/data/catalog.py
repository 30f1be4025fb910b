"""The versioned tables of a line (Delta Lake): images and labels; predictions are in `predicted`.

Every write is one commit and leaves the same rows when it is repeated.
"""

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from ml import files
from ml.data import delta
from ml.data.damage import told
from ml.settings import Home

log = logging.getLogger(__name__)

TEXT, NUMBER, COUNT = pa.string(), pa.float64(), pa.int64()
TIME = pa.timestamp("us", tz="UTC")

IMAGES = pa.schema(
    {
        "object": TEXT,
        "version": TEXT,
        "sha256": TEXT,
        "status": TEXT,
        "reason": TEXT,
        "bytes": COUNT,
        "width": COUNT,
        "height": COUNT,
        "aspect": NUMBER,
        "brightness": NUMBER,
        "contrast": NUMBER,
        "sharpness": NUMBER,
        "colourfulness": NUMBER,
        "phash": TEXT,
        "part": TEXT,
        "lot": TEXT,
        "group": TEXT,
        "camera": TEXT,
        "captured_at": TIME,
        "day": TEXT,
        "batch": TEXT,
    }
)

LABELS = pa.schema(
    {
        "sha256": TEXT,
        "label": TEXT,
        "defect_type": TEXT,
        "mask": TEXT,
        "source": TEXT,
        "by": TEXT,
        "at": TEXT,
    }
)

# Images that nights inspect: accepted ones, also those whose object was replaced since, but not by
# a version of the same day (their reason is OUTDATED): no part has two verdicts.
USABLE = ("accepted", "replaced")
OUTDATED = "a newer version of this object was accepted for the same day"
IS_USABLE = f"(status = 'accepted' OR (status = 'replaced' AND reason <> '{OUTDATED}'))"

# Images that a night holds unread, since nobody knows how their parts look: quarantined ones, and
# copies of another part's image, as of a camera that stands still. Why, in the words of the plan:
# QUARANTINED and the reason of the quarantine, or SAME_BYTES and the other's object, which is the
# reason of such a copy, also where it took the other's place. SAME_PART is that of one whose part
# has these bytes already.
QUARANTINED = "quarantined: "
SAME_BYTES = "same bytes as "
SAME_PART = "same bytes as an accepted image"
IS_HELD = (
    "(status = 'quarantined' OR (status IN ('accepted', 'duplicate') "
    f"AND coalesce(reason, '') LIKE '{SAME_BYTES}%' AND reason <> '{SAME_PART}'))"
)
_WHY_HELD = (
    f"CASE WHEN status = 'quarantined' THEN '{QUARANTINED}' || coalesce(reason, '') "
    f"WHEN {IS_HELD} THEN reason END"
)
# What a plan has.
IS_PLANNED = f"({IS_USABLE} OR {IS_HELD})"


_UNLABELLED = """
SELECT count(*) AS n FROM images WHERE {where} AND NOT EXISTS (
    SELECT 1 FROM labels WHERE labels.source = 'layout' AND labels.sha256 = images.sha256
)
"""


@contextmanager
def locked(home: Home, line: str) -> Iterator[None]:
    """Hold the catalog of a line while it is read and changed: one process at a time."""
    with files.locked(home.table(line, "images").parent):
        yield


def upsert_images(home: Home, line: str, rows: pa.Table) -> None:
    """Add or replace images by (object, version)."""
    delta.upsert(home.table(line, "images"), rows.cast(IMAGES), ("object", "version"), near="day")


def upsert_labels(home: Home, line: str, rows: pa.Table) -> None:
    """Add or replace labels by (sha256, source); those that stand already cost nothing."""
    path, rows = home.table(line, "labels"), rows.cast(LABELS)
    of = rows["sha256"]
    known = {tuple(row.values()) for row in delta.among(path, LABELS, {"sha256": of}).to_pylist()}
    is_new = [tuple(row.values()) not in known for row in rows.to_pylist()]
    delta.upsert(path, rows.filter(pa.array(is_new, pa.bool_())), ("sha256", "source"))


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
    where = [] if day is None else [f"day = {delta.quoted(day)}"]
    where += _of_status(status)
    if until is not None:
        where.append(f"day <= {delta.quoted(until)}")
    if batch is not None:
        where.append(f"batch = {delta.quoted(batch)}")
    path = home.table(line, "images")
    schema = pa.schema([IMAGES.field(name) for name in columns])
    with delta.readable(path, version):
        return delta.read(path, schema, where, "object, version", version)


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
    schema = pa.schema([*(IMAGES.field(name) for name in columns), pa.field("held", TEXT)])
    where = [f"day = {delta.quoted(day)}", IS_PLANNED]
    with delta.readable(path, version):
        return delta.read(path, schema, where, "object, version", version, {"held": _WHY_HELD})


def is_copy(row: dict[str, Any]) -> bool:
    """Whether an image is byte for byte that of another part; `row` has its `reason`."""
    reason = row["reason"] or ""
    return reason.startswith(SAME_BYTES) and reason != SAME_PART


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
    where = [] if day is None else [f"day = {delta.quoted(day)}"]
    rows = delta.among(home.table(line, "images"), schema, among, [*where, *_of_status(status)])
    return rows.sort_by([("object", "ascending"), ("version", "ascending")]).select(columns)


def count_batches(home: Home, line: str, most: int) -> tuple[int, list[dict[str, Any]]]:
    """How many batches the images are of, and of the `most` with the newest days what they have.

    `batch, first` and `last` day, and how many images of each status, as `statuses`.
    """
    table = delta.open_table(home.table(line, "images"))
    if table is None:
        return 0, []
    count = delta.select(table, "count(DISTINCT batch) AS n")["n"][0].as_py()
    newest = f"GROUP BY batch ORDER BY last DESC, batch DESC LIMIT {most}"
    what = "batch, min(day) AS first, max(day) AS last"
    found = delta.select(table, what, ["batch IS NOT NULL"], newest).to_pylist()
    if not found:
        return count, []
    # Batches of the same last day may be far more than are asked for.
    where = [f"batch IN ({', '.join(delta.quoted(row['batch']) for row in found)})"]
    counted = delta.select(table, "batch, status, count(*) AS n", where, "GROUP BY batch, status")
    statuses: dict[str, dict[str, int]] = {row["batch"]: {} for row in found}
    for row in counted.to_pylist():
        statuses[row["batch"]][row["status"]] = row["n"]
    return count, [row | {"statuses": statuses[row["batch"]]} for row in found]


def count_reasons(home: Home, line: str) -> list[dict[str, Any]]:
    """How many images have each `status` and `reason`, as `n`."""
    table = delta.open_table(home.table(line, "images"))
    if table is None:
        return []
    what = "status, reason, count(*) AS n"
    return list(delta.select(table, what, then="GROUP BY status, reason").to_pylist())


def batches_among(home: Home, line: str, names: Collection[str], version: int) -> set[str]:
    """Which of some batches the table of images had rows of in a version.

    Raises DataError when that version is gone.
    """
    path = home.table(line, "images")
    where = [f"batch IN ({', '.join(map(delta.quoted, sorted(names)))})"]
    with delta.readable(path, version):
        table = delta.open_table(path, version)
        if table is None or not names:
            return set()
        return set(delta.select(table, "DISTINCT batch", where)["batch"].to_pylist())


def count_images(
    home: Home, line: str, *, until: str | None = None, version: int | None = None
) -> Counter[str]:
    """How many images each day has of those that a plan has; or had in a `version`."""
    path = home.table(line, "images")
    where = [IS_PLANNED] if until is None else [IS_PLANNED, f"day <= {delta.quoted(until)}"]
    with delta.readable(path, version):
        table = delta.open_table(path, version)
        if table is None:
            return Counter()
        return delta.counted(delta.select(table, "day, count(*)", where, "GROUP BY day"))


def read_labels(
    home: Home, line: str, *, source: str | None = None, of: pa.Array | None = None
) -> dict[str, dict[str, Any]]:
    """The label of each image by its SHA-256; a person's review wins over the layout's label.

    With `source` (`layout` or `review`) only the labels that come from there; only those `of`
    some SHA-256.
    """
    where = [] if source is None else [f"source = {delta.quoted(source)}"]
    among = {} if of is None else {"sha256": of}
    rows = delta.among(home.table(line, "labels"), LABELS, among, where).to_pylist()
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
    path, labels = home.table(line, "images"), delta.open_table(home.table(line, "labels"))
    for day in days:
        of_day = f"day = {delta.quoted(day)}"
        with delta.readable(path, version), told(path):
            if (images := delta.open_table(path, version)) is None:
                break
            inspected = f"{IS_USABLE} AND NOT {IS_HELD}"
            usable, held = (delta.count(images, [of_day, kind]) for kind in (inspected, IS_HELD))
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
    rows = delta.among(home.table(line, "labels"), schema, {"sha256": of}, ["source = 'layout'"])
    return rows["sha256"].combine_chunks()


def version(home: Home, line: str, name: str) -> int:
    """The version of a table; -1 before its first commit."""
    table = delta.open_table(home.table(line, name))
    return -1 if table is None else int(table.version())


def _of_status(status: Sequence[str] | None) -> list[str]:
    if status == USABLE:
        return [IS_USABLE]
    return [] if status is None else [f"status IN ({', '.join(map(delta.quoted, status))})"]
