"""Alerts about a night that looked at too little: images held without a look, or none at all."""

from collections import Counter
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from ml.data import catalog
from ml.inference.late import settle_alert
from ml.results import Document, ResultStore

# More than this share of a night without a probability, and more than one image, is no matter of
# single files: the alert leads to the disk that is not mounted, or the bundle that is refused.
_MOST_HELD = 0.01
# So many parts with another part's image, beyond that share, are no accident of a copied file: a
# camera, or what stores its images, stands still.
_STANDS_STILL = 5
_COPIES = "same bytes as another part's image"


def report_held(store: ResultStore, line: str, day: str, predictions: pa.Table) -> None:
    """Write the `held` alert of a night of which too many images have no probability.

    It says how many by reason; it goes when the day was run again and they have one.
    """
    unknown = predictions.filter(pc.is_null(predictions["p_defect"]))
    count, images = unknown.num_rows, predictions.num_rows
    reasons = Counter(map(_kind, unknown["reason"].to_pylist()))
    detail = ""
    if count > max(1, _MOST_HELD * images):
        by_reason = ", ".join(
            f"{reason or 'no reason'}: {n}" for reason, n in reasons.most_common()
        )
        detail = f"Held for review without a probability, by reason: {by_reason}."
    if reasons[_COPIES] >= _STANDS_STILL and reasons[_COPIES] > _MOST_HELD * images:
        detail += " Look whether a camera stands still: other parts have the same image."
    title = f"{count} of {images} images of {day} were not judged"
    settle_alert(store, line, day, "held", title, detail)


def report_empty(
    store: ResultStore, line: str, day: str, images: int, nights: Mapping[str, Document]
) -> None:
    """Write the `empty` alert of a night without images on a line that had some; or take it back.

    A warning: the line may have rested, or its images went where nobody looks.
    """
    had_some = any(night["images"] for one, night in nights.items() if one < day)
    detail = ""
    if had_some and not images:
        detail = (
            "Earlier nights of the line had some. Did the line rest, or do its images not come?"
        )
    settle_alert(store, line, day, "empty", f"No images of {day}", detail, "warning")


def _kind(reason: str | None) -> str:
    """A reason without the object that it names: alerts count by kind."""
    return _COPIES if (reason or "").startswith(catalog.SAME_BYTES) else reason or ""
