"""The `review` step: verdicts of the results store into the labels table."""

import logging
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ml.audit import reviews
from ml.data import catalog
from ml.data.layout import kind_of, some_of
from ml.results import Document, ResultStore
from ml.settings import Home

log = logging.getLogger(__name__)

_LABELS = {"pass": "ok", "fail": "defect"}


@dataclass(frozen=True)
class Reviewed:
    """Verdicts found and labels that follow from them."""

    verdicts: int
    labels: int


def review(home: Home, line: str, store: ResultStore, good: Collection[str] = ("ok",)) -> Reviewed:
    """Write one label per reviewed image; the same reviews leave the same labels.

    `good` are the line's words for a good part, which name no defect.

    A later verdict on an image wins over an earlier one, and people who differ are named. So is a
    verdict that is malformed, a `fail` for being good, one on an image that is not accepted, or on
    a part of which there is but another part's image; it is left out. So is one that is not as the
    ledger has it.
    A `fail` keeps the mask of the layout's label, and its defect type unless the person names one.
    """
    found = _recorded(home, line, store)
    found.sort(key=lambda one: str(one.get("at", "")))
    named = pa.array(
        {one["sha256"] for one in found if isinstance(one.get("sha256"), str)}, pa.string()
    )
    columns = ["sha256", "object", "status", "reason"]
    images = _by_sha256(catalog.read_images_of(home, line, columns, sha256=named))
    layout = catalog.read_labels(home, line, source="layout", of=named)
    no_types = {"ok", *map(kind_of, good)}
    whole = [one for one in found if _is_whole(one, images, no_types)]
    if disputed := _disputed(whole):
        log.warning(
            "%d images have verdicts that differ, of which the latest counts: %s",
            len(disputed),
            some_of(disputed),
        )
    labels = {one["sha256"]: _label(one, layout.get(one["sha256"], {})) for one in whole}
    rows = pa.Table.from_pylist(list(labels.values()), schema=catalog.LABELS)
    # An ingest writes labels, too, and so does another review.
    with catalog.locked(home, line):
        catalog.upsert_labels(home, line, rows)
    return Reviewed(len(found), len(labels))


def _recorded(home: Home, line: str, store: ResultStore) -> list[Document]:
    """The reviews of ledger and store: what stands in one alone gets into the other.

    Raises LedgerError when the ledger was altered.
    """
    stored = {one.pop("id"): one for one in store.find("reviews", {"line": line})}
    differ = reviews.compare(reviews.read(home.ledgers(line)), stored)
    reviews.mend(home.ledgers(line))
    store.put("reviews", differ.unfinished)
    reviews.record(home.ledgers(line), differ.unrecorded, "found")
    for name in differ.altered:
        log.warning("review %s left out: it was altered since it was recorded", name)
    whole = {name: body for name, body in stored.items() if name not in differ.altered}
    return [body | {"id": name} for name, body in sorted((whole | differ.unfinished).items())]


def _by_sha256(images: pa.Table) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in images.to_pylist():
        found[row["sha256"]].append(row)
    return found


def _is_whole(
    one: Document, images: dict[str, list[dict[str, Any]]], no_types: Collection[str]
) -> bool:
    why = _left_out(one, images.get(one.get("sha256", ""), []), no_types)
    if why:
        log.warning("review %s left out: %s", one["id"], why)
    return not why


def _left_out(one: Document, of_bytes: list[dict[str, Any]], no_types: Collection[str]) -> str:
    """Why a verdict becomes no label; `of_bytes` are all images with the bytes that it is on."""
    if one.get("verdict") not in _LABELS or not one.get("by"):
        return "no name or no verdict"
    if one["verdict"] == "fail" and kind_of(one.get("defect_type") or "") in no_types:
        return f"it fails the part for being {one['defect_type']!r}; say which of the two is meant"
    named = one.get("object") or ""
    meant = [row for row in of_bytes if row["object"] == named] if named else of_bytes
    if not meant:
        return "unknown image"
    # A label is one of bytes: it would be that of the part which the picture shows.
    if copy := next(filter(catalog.is_copy, meant), None):
        unsaid = "" if named else ", and it names no `object`; send it again with one"
        return f"{copy['object']} has the {copy['reason']}{unsaid}"
    statuses = {row["status"] for row in meant}
    if statuses.isdisjoint(catalog.USABLE):
        said = ", ".join(sorted(statuses))
        return f"its image is {said}; it becomes a label if the image is accepted later"
    return ""


def _disputed(whole: list[Document]) -> list[str]:
    """The images that some called good and others defective, with the names and their verdicts."""
    said: dict[str, dict[str, str]] = defaultdict(dict)
    for one in whole:
        said[one["sha256"]][one["by"]] = one["verdict"]
    return [
        f"{sha256[:16]} ({', '.join(f'{by}: {verdict}' for by, verdict in each.items())})"
        for sha256, each in said.items()
        if len(set(each.values())) > 1
    ]


def _label(one: Document, layout: dict[str, Any]) -> dict[str, Any]:
    label = _LABELS[one["verdict"]]
    is_defect = label == "defect"
    defect_type = kind_of(one.get("defect_type") or "") or layout.get("defect_type") or "defect"
    return {
        "sha256": one["sha256"],
        "label": label,
        "defect_type": defect_type if is_defect else "",
        "mask": layout.get("mask", "") if is_defect else "",
        "source": "review",
        "by": one["by"],
        "at": one.get("at", ""),
    }
