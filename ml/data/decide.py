"""What becomes of each image of a batch, given what the catalog has already. Reads no file."""

import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from ml.data import catalog

Row = dict[str, Any]

log = logging.getLogger(__name__)

# What is read of every row of the catalog.
COLUMNS = (
    "object",
    "version",
    "sha256",
    "status",
    "reason",
    "day",
    "captured_at",
    "batch",
    "part",
)

REPLACED = "a newer version of this object was accepted"
# Its night inspects the newer one instead: no part has two verdicts.
OUTDATED = catalog.OUTDATED
# Of a row that has a newer version.
SUPERSEDED = (REPLACED, OUTDATED)
LABEL_CONFLICT = "label_conflict"
DROPPED = "left out by a person"

# What names a row of the catalog: object and version.
Key = tuple[str, str]


@dataclass(frozen=True)
class Past:
    """What the catalog has already.

    `rows` are the accepted ones and copies of such, `labels` those of the layout by SHA-256.
    `known` are all rows by object and version, `newer` the days of the objects of which the
    catalog has a newer version than the batch. `broken` are quarantined ones, listed before it.
    """

    rows: list[Row]
    labels: dict[str, Row]
    known: dict[Key, Row] = field(default_factory=dict)
    newer: dict[str, str] = field(default_factory=dict)
    broken: list[Row] = field(default_factory=list)

    @classmethod
    def read(
        cls,
        images: list[Row],
        labels: dict[str, Row],
        earlier: Collection[str],
        gone: Collection[Key] = (),
    ) -> "Past":
        """From all rows (`COLUMNS`) and labels of the catalog.

        `earlier` are the batches that were listed before this one; all others count as newer.
        `gone` are rows that the source has no longer: a label that only they had says nothing.
        """
        rows = [r for r in images if r["status"] in ("accepted", "duplicate") or is_present(r)]
        present = [row for row in rows if is_present(row)]
        newer = {row["object"]: row["day"] for row in present if row["batch"] not in earlier}
        there = {row["sha256"] for row in present if row_key(row) not in gone}
        lost = {row["sha256"] for row in present} - there
        said = {sha256: label for sha256, label in labels.items() if sha256 not in lost}
        broken = [r for r in images if r["status"] == "quarantined" and r["batch"] in earlier]
        return cls(rows, said, {row_key(row): row for row in images}, newer, broken)


@dataclass(frozen=True)
class Decision:
    """Rows of the batch with `status`, `reason` and `batch`; changed rows of others; new labels."""

    rows: list[Row]
    changed: list[Row]
    labels: list[Row]


def settled(past: Past, staged: list[Row], *, is_replay: bool = False) -> dict[Key, Row]:
    """The rows that the catalog has of a staged batch, by object and version.

    They were decided by this batch before, or by another ingest, and that stands. Only a replay
    decides anew what is in quarantine, each time: what it contradicted may be mended by now. A
    replaced version is decided anew, too, when there is no newer one than this batch: the source
    has it again.
    """
    found = {key: past.known[key] for key in map(row_key, staged) if key in past.known}
    return {
        key: row
        for key, row in found.items()
        if not (is_replay and is_held(row))
        and not (row["reason"] in SUPERSEDED and row["object"] not in past.newer)
    }


def decide(staged: list[Row], failed: dict[int, str], past: Past, batch: str) -> Decision:
    """Accept, quarantine or mark as duplicate.

    `failed` is row number → reason. The same bytes under another label are quarantined: one of
    the two labels is wrong, and a person must say which. A new version of an object replaces the
    older one, whichever is validated first; what was a duplicate of that takes its place. A
    quarantined one is dropped then, as a file that was cut while it was uploaded: nobody waits for
    it any more.

    A replaced version that is decided anew keeps its day, and it stays `replaced` when it is not
    accepted: the night of its day has it.
    """
    changed = _changed(staged, failed, past)
    now = {row_key(row): row for row in [*past.rows, *changed]}.values()
    accepted = {row["sha256"]: row for row in now if row["status"] == "accepted"}
    kinds = {sha256: _kind(past.labels.get(sha256, {})) for sha256 in accepted}
    labelled = {sha256 for sha256, kind in kinds.items() if kind}
    rows, labels = [], {}
    for number, row in enumerate(staged):
        sha256, kind = row["sha256"], _kind(row)
        status, reason = "accepted", ""
        if number in failed:
            status, reason = "quarantined", failed[number]
        elif sha256 not in accepted and row["object"] in past.newer:
            status, reason = "replaced", _superseded(row, past.newer[row["object"]])
        elif sha256 not in accepted:
            accepted[sha256], kinds[sha256] = row, kind
        elif kind and kinds[sha256] and kind != kinds[sha256]:
            status, reason = "quarantined", LABEL_CONFLICT
            _log_conflict(row, kind, accepted[sha256], kinds[sha256])
        else:
            status, reason = "duplicate", _copied(row, accepted[sha256])
            reason = REPLACED if row["object"] in past.newer else reason
            kinds[sha256] = kinds[sha256] or kind
        # A duplicate may be the first to have a label.
        if status != "quarantined" and kind and sha256 not in labelled:
            labelled.add(sha256)
            labels[sha256] = _label(row)
        known = past.known.get(row_key(row), {})
        if known.get("status") == "replaced" or known.get("reason") in SUPERSEDED:
            row = row | {name: known[name] for name in ("day", "captured_at")}
        had_night = known.get("status") == "replaced" and known["reason"] != OUTDATED
        if had_night and status != "accepted":
            log.warning(
                "%s: an earlier version is back, but not accepted: %s", row["object"], reason
            )
            status = "replaced"
        rows.append(row | {"status": status, "reason": reason, "batch": batch})
    return Decision(rows, changed, list(labels.values()))


def late_labels(
    past: Past, staged: list[Row], failed: dict[int, str], done: dict[Key, Row]
) -> list[Row]:
    """Labels of images that were decided before the source had one: masks are drawn later.

    A label that is there already stands; one whose mask is wrong is not taken, nor one that another
    of the same bytes contradicts.
    """
    labels: dict[str, Row] = {}
    disputed = set()
    for number, row in enumerate(staged):
        is_usable = done.get(row_key(row), {}).get("status") in (
            "accepted",
            "duplicate",
            "replaced",
        )
        if not is_usable or not _kind(row) or row["sha256"] in past.labels:
            continue
        if number in failed:
            log.warning("%s: its label came late and is wrong: %s", row["object"], failed[number])
        elif _kind(labels.setdefault(row["sha256"], _label(row))) != _kind(row):
            log.warning("%s: its label came late and contradicts another", row["object"])
            disputed.add(row["sha256"])
    return [label for sha256, label in labels.items() if sha256 not in disputed]


def _changed(staged: list[Row], failed: dict[int, str], past: Past) -> list[Row]:
    """Rows of other batches that a good new version replaces, and duplicates that follow them.

    Quarantined ones that a newer version follows are dropped: it has a row of its own.
    """
    newest = {
        row["object"]: row
        for number, row in enumerate(staged)
        if number not in failed and row["object"] not in past.newer
    }
    gone = [r for r in past.rows if newest.get(r["object"], r)["sha256"] != r["sha256"]]
    status_of = {"accepted": "replaced", "duplicate": "duplicate", "replaced": "replaced"}
    left = {row_key(row) for row in gone}
    marked = [
        row
        | {
            "status": status_of[row["status"]],
            "reason": _superseded(row, newest[row["object"]]["day"]),
        }
        for row in gone
    ]
    free = {row["sha256"] for row in gone if row["status"] == "accepted"}
    followers: dict[str, Row] = {}
    for row in past.rows:
        is_copy = row["status"] != "accepted" and is_present(row)
        if is_copy and row["sha256"] in free and row_key(row) not in left:
            # Another part's image does not become this part's: nights hold it still.
            reason = "" if row["reason"] == catalog.SAME_PART else row["reason"]
            followers.setdefault(row["sha256"], row | {"status": "accepted", "reason": reason})
    here = {row_key(row) for row in staged}
    listed = {row["object"] for row in staged} - past.newer.keys()
    mended = [
        row | {"status": "dropped", "reason": REPLACED}
        for row in past.broken
        if row["object"] in listed and row_key(row) not in here
    ]
    return [*marked, *followers.values(), *mended]


def _superseded(row: Row, day: str) -> str:
    """Why a row is replaced by a version of this day."""
    return OUTDATED if row["day"] == day and row.get("status") != "duplicate" else REPLACED


def _copied(row: Row, other: Row) -> str:
    """Why a row is a duplicate of an accepted one: the same part again, or another part's image.

    A camera that stands still sends one part's image for all others. Nobody has seen those: nights
    hold them for the name of the object in this reason.
    """
    is_same = row["object"] == other["object"] or (
        # A part that is but the file's name is none: counters begin anew in each folder.
        row.get("part") == other.get("part") != PurePosixPath(row["object"]).stem
    )
    return catalog.SAME_PART if is_same else f"{catalog.SAME_BYTES}{other['object']}"


def _is_copied(row: Row) -> bool:
    return bool(row["reason"].startswith(catalog.SAME_BYTES))


def _log_conflict(row: Row, kind: str, other: Row, known: str) -> None:
    names = row["object"], kind, other["object"], known
    log.warning("%s is %s, but %s, the same bytes, is %s", *names)


def _label(row: Row) -> Row:
    label = {key: row[key] for key in ("sha256", "label", "defect_type", "mask")}
    return label | {"source": "layout", "by": "", "at": ""}


def _kind(label: Row) -> str:
    return label.get("defect_type") or label.get("label") or ""


def is_present(row: Row) -> bool:
    """Whether a row is of the newest good version of its object.

    Such a version is accepted, or a copy of an accepted image; a copy that was replaced before
    and came back is still `replaced`.
    """
    if row["status"] == "replaced":
        return _is_copied(row)
    return row["status"] in ("accepted", "duplicate") and row["reason"] not in SUPERSEDED


def is_held(row: Row) -> bool:
    """Whether a row is in quarantine.

    So is a replaced version that came back and was not accepted; it stays `replaced`, since the
    night of its day has it.
    """
    is_known = row["reason"] in (*SUPERSEDED, DROPPED) or _is_copied(row)
    return row["status"] == "quarantined" or (row["status"] == "replaced" and not is_known)


def row_key(row: Row) -> Key:
    """Object and version name a row of the catalog."""
    return row["object"], row["version"]
