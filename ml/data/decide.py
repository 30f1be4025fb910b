"""What becomes of each image of a batch, given what the catalog has already. Reads no file."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]

log = logging.getLogger(__name__)

_REPLACED = "a newer version of this object was accepted"


@dataclass(frozen=True)
class Past:
    """What the catalog has already.

    `accepted` are rows of other batches, `kinds` their defect type or `ok` by SHA-256 (empty
    without a label). `statuses` are those of this batch, by object and version: it may be a
    second try.
    """

    accepted: list[Row]
    kinds: dict[str, str]
    statuses: dict[tuple[str, str], str]

    @classmethod
    def read(cls, images: list[Row], labels: dict[str, Row], mine: set[tuple[str, str]]) -> "Past":
        """From all rows of the catalog, labels by SHA-256, and the keys of this batch."""
        accepted = [r for r in images if r["status"] == "accepted" and row_key(r) not in mine]
        kinds = {row["sha256"]: _kind(labels.get(row["sha256"], {})) for row in accepted}
        statuses = {row_key(row): row["status"] for row in images if row_key(row) in mine}
        return cls(accepted, kinds, statuses)


def row_key(row: Row) -> tuple[str, str]:
    """Object and version, which name a row of the catalog."""
    return row["object"], row["version"]


def decide(staged: list[Row], failed: dict[int, str], past: Past, batch: str) -> list[Row]:
    """The staged rows with `status`, `reason` and `batch`.

    `failed` is row number → reason. The same bytes under another label are quarantined: one of
    the two labels is wrong, and a person must say which.
    """
    kinds = dict(past.kinds)
    names = {row["sha256"]: row["object"] for row in past.accepted}
    rows = []
    for number, row in enumerate(staged):
        kind, known = _kind(row), kinds.get(row["sha256"])
        status, reason = "accepted", ""
        if number in failed:
            status, reason = "quarantined", failed[number]
        elif past.statuses.get(row_key(row)) == "replaced":
            status, reason = "replaced", _REPLACED
        elif kind and known and kind != known:
            status, reason = "quarantined", "label_conflict"
            other = names[row["sha256"]]
            log.warning(
                "%s is %s, but %s, the same bytes, is %s", row["object"], kind, other, known
            )
        elif known is not None:
            status, reason = "duplicate", "same bytes as an accepted image"
        if status in ("accepted", "duplicate"):
            kinds[row["sha256"]] = known or kind
            names.setdefault(row["sha256"], row["object"])
        rows.append(row | {"status": status, "reason": reason, "batch": batch})
    return rows


def labels_of(rows: list[Row], past: Past) -> list[Row]:
    """One label per content that has none yet; a duplicate may be the first to have one."""
    labels: dict[str, Row] = {}
    for row in rows:
        is_in = row["status"] in ("accepted", "duplicate")
        if is_in and row["label"] and not past.kinds.get(row["sha256"]):
            label = {key: row[key] for key in ("sha256", "label", "defect_type", "mask")}
            labels.setdefault(row["sha256"], label | {"source": "layout", "by": "", "at": ""})
    return list(labels.values())


def replaced(rows: list[Row], past: Past) -> Iterator[Row]:
    """Accepted rows of other batches whose object has other content now, so marked."""
    content = {
        row["object"]: row["sha256"]
        for row in rows
        # A second try finds its rows in the catalog: it has replaced what it replaces.
        if row["status"] in ("accepted", "duplicate") and row_key(row) not in past.statuses
    }
    for row in past.accepted:
        if content.get(row["object"], row["sha256"]) != row["sha256"]:
            yield row | {"status": "replaced", "reason": _REPLACED}


def _kind(label: Row) -> str:
    return label.get("defect_type") or label.get("label") or ""
