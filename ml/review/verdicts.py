"""The `review` step: verdicts of the results store into the labels table."""

import logging
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ml.data import catalog
from ml.results import Document, ResultStore
from ml.settings import Home

log = logging.getLogger(__name__)

_LABELS = {"pass": "ok", "fail": "defect"}


@dataclass(frozen=True)
class Reviewed:
    """Verdicts found and labels that follow from them."""

    verdicts: int
    labels: int


def review(home: Home, line: str, store: ResultStore) -> Reviewed:
    """Write one label per reviewed image; the same reviews leave the same labels.

    A later verdict on an image wins over an earlier one. A malformed one is named and left out.
    A `fail` keeps the mask of the layout's label, and its defect type unless the person names one.
    """
    found = store.find("reviews", {"line": line})
    found.sort(key=lambda one: str(one.get("at", "")))
    named = pa.array(
        {one["sha256"] for one in found if isinstance(one.get("sha256"), str)}, pa.string()
    )
    images = catalog.read_images_of(home, line, ["sha256"], sha256=named, status=catalog.USABLE)
    known = set(images["sha256"].to_pylist())
    layout = catalog.read_labels(home, line, source="layout", of=named)
    labels = {
        one["sha256"]: _label(one, layout.get(one["sha256"], {}))
        for one in found
        if _is_whole(one, known)
    }
    rows = pa.Table.from_pylist(list(labels.values()), schema=catalog.LABELS)
    # An ingest writes labels, too, and so does another review.
    with catalog.locked(home, line):
        catalog.upsert_labels(home, line, rows)
    return Reviewed(len(found), len(labels))


def _is_whole(one: Document, known: set[str]) -> bool:
    whole = one.get("verdict") in _LABELS and bool(one.get("by")) and one.get("sha256") in known
    if not whole:
        log.warning("review %s left out: unknown image, no name or no verdict", one["id"])
    return whole


def _label(one: Document, layout: dict[str, Any]) -> dict[str, Any]:
    label = _LABELS[one["verdict"]]
    is_defect = label == "defect"
    defect_type = one.get("defect_type") or layout.get("defect_type") or "defect"
    return {
        "sha256": one["sha256"],
        "label": label,
        "defect_type": defect_type if is_defect else "",
        "mask": layout.get("mask", "") if is_defect else "",
        "source": "review",
        "by": one["by"],
        "at": one.get("at", ""),
    }
