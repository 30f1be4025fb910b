"""A dataset version: labelled images up to a day, split by group, copies kept together."""

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ml import files
from ml.data import catalog
from ml.data.layout import some_of
from ml.data.leak import crossing, guard, joined_groups
from ml.data.split import split_groups
from ml.errors import DataError
from ml.settings import Home, LineConfig

log = logging.getLogger(__name__)

# With fewer groups no split by group leaves anything to learn, to tune on and to test on.
MIN_GROUPS = 8

_COLUMNS = [
    "sha256",
    "split",
    "group",
    "label",
    "defect_type",
    "mask",
    "part",
    "lot",
    "camera",
    "captured_at",
    "day",
]


@dataclass(frozen=True)
class Snapshot:
    """Name and counts of a dataset version.

    `joined` has the groups that became part of another because they show the same part.
    """

    dataset: str
    images: int
    groups: int
    joined: dict[str, str]
    counts: dict[str, int]


def snapshot(home: Home, line: LineConfig, until: str | None, *, threads: int = 1) -> Snapshot:
    """Write a dataset version and return it; equal content has the same name and is kept.

    Groups that show the same part are joined before the split, so that no copy can cross it.
    Raises DataError when there are too few labelled groups or no good image, LeakError when a
    group or a byte duplicate crosses the split.
    """
    rows = _labelled(home, line.name, until)
    _require_enough(line.name, rows)
    bits = line.source.bits
    groups = joined_groups(home, rows, bits, threads=threads)
    rows = [row | {"group": groups[row["group"]]} for row in rows]
    joined = {group: name for group, name in sorted(groups.items()) if group != name}
    _require_enough(line.name, rows, joined)
    splits = split_groups([(row["group"], row["kind"]) for row in rows], line.split)
    rows = [row | {"split": splits[row["group"]]} for row in rows]
    guard([*crossing(rows, "group"), *crossing(rows, "sha256")])
    content = [[row[key] for key in _COLUMNS if key != "captured_at"] for row in rows]
    # The same images read in another way are another dataset.
    name = files.content_key(content if bits is None else [content, bits])
    counts = _counts(rows)
    facts = {"until": until, "counts": counts, "joined": joined, "bits": bits}
    _write(home, line, name, rows, facts)
    return Snapshot(name, len(rows), len(splits), joined, counts)


def _labelled(home: Home, line: str, until: str | None) -> list[dict[str, Any]]:
    labels = catalog.read_labels(home, line)
    # The latest version of each object only.
    named = pa.array(labels, pa.string())
    images = catalog.read_images_of(
        home, line, catalog.IMAGES.names, sha256=named, status=["accepted"]
    ).to_pylist()
    rows = [
        image
        | {key: labels[image["sha256"]][key] for key in ("label", "defect_type", "mask")}
        | {"kind": labels[image["sha256"]]["defect_type"] or "ok"}
        for image in images
        if until is None or image["day"] <= until
    ]
    if doubtful := [row["object"] for row in rows if _is_good_and_bad(row)]:
        log.warning(
            "%d images are labelled as good and as a defect at once, and are left out: %s",
            len(doubtful),
            some_of(doubtful),
        )
    return [row for row in rows if not _is_good_and_bad(row)]


def _is_good_and_bad(row: dict[str, Any]) -> bool:
    # An ingest holds such images by now; those of an older Loupe are still in the catalog.
    is_defect_called_ok = row["label"] == "defect" and row["defect_type"].lower() == "ok"
    return is_defect_called_ok or (row["label"] == "ok" and bool(row["mask"]))


def _require_enough(line: str, rows: list[dict[str, Any]], joined: Iterable[str] = ()) -> None:
    groups = {row["group"] for row in rows}
    if len(groups) < MIN_GROUPS:
        lost = f" ({', '.join(joined)} show the same parts as others)" if joined else ""
        msg = (
            f"line {line}: {len(rows)} labelled images in {len(groups)} groups{lost}; "
            f"at least {MIN_GROUPS} groups are needed to train, tune and test"
        )
        raise DataError(msg)
    if not any(row["label"] == "ok" for row in rows):
        msg = f"line {line}: every labelled image is a defect; good images are needed"
        raise DataError(msg)


def _counts(rows: list[dict[str, Any]]) -> dict[str, int]:
    counts = Counter(f"{row['split']}.{row['label']}" for row in rows)
    return dict(sorted(counts.items()))


def _write(
    home: Home, line: LineConfig, name: str, rows: list[dict[str, Any]], facts: dict[str, Any]
) -> None:
    path = home.dataset(line.name, name)
    if path.exists():
        return  # Immutable, its description too: later tables have other versions.
    table = pa.Table.from_pylist([{key: row[key] for key in _COLUMNS} for row in rows])
    table = table.set_column(
        _COLUMNS.index("captured_at"),
        "captured_at",
        table["captured_at"].cast(pa.timestamp("us", tz="UTC")),
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    description = facts | {
        "dataset": name,
        "line": line.name,
        "images_version": catalog.version(home, line.name, "images"),
        "labels_version": catalog.version(home, line.name, "labels"),
        "seed": line.split.seed,
        "leaks": 0,
    }
    files.write_json(path.with_suffix(".json"), description)
    files.write_bytes(path, sink.getvalue().to_pybytes())
