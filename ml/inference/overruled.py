"""Alerts about parts that a night passes although a person failed them."""

import pyarrow as pa
import pyarrow.compute as pc

from ml.data import catalog
from ml.inference.late import settle_alert
from ml.results import ResultStore
from ml.settings import Home

# Parts that a message names.
_NAMED = 10


def report_overruled(
    home: Home, store: ResultStore, line: str, day: str, predictions: pa.Table
) -> None:
    """Write the `overruled` alert of a night, or take it back.

    A person sees what a night did not pass. Inspected again, by another bundle, the same image may
    pass; then its document is gone, and with it what would tell of the person's verdict.
    """
    passed = predictions.filter(pc.equal(predictions["verdict"], "pass"))
    # Nobody fails as many images as pass in a night: to ask of each of these would take longer.
    fails = store.find("reviews", {"line": line, "verdict": "fail"})
    disputed = {str(one.get("sha256")) for one in fails} & set(passed["sha256"].to_pylist())
    copies = _copies(home, line, disputed)
    failed = [sha256 for sha256 in disputed if _last_word(store, line, sha256, copies) == "fail"]
    images = passed.filter(pc.is_in(passed["sha256"], pa.array(failed, pa.string())))
    detail = ""
    if len(images):
        named = sorted(set(images["part"].to_pylist()))
        more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
        detail = f"Hold these parts back: {', '.join(named[:_NAMED])}{more}."
    title = f"{len(images)} images of {day} pass that a person failed"
    settle_alert(store, line, day, "overruled", title, detail)


def _copies(home: Home, line: str, disputed: set[str]) -> set[str]:
    """The objects with one of these images whose parts it does not show."""
    if not disputed:
        # As in most nights, which need not search the whole catalog then.
        return set()
    among = pa.array(disputed, pa.string())
    found = catalog.read_images_of(home, line, ["object", "reason"], sha256=among)
    return {row["object"] for row in found.to_pylist() if catalog.is_copy(row)}


def _last_word(store: ResultStore, line: str, sha256: str, copies: set[str]) -> str:
    """The latest whole verdict on an image, as for labels; "" where there is none.

    One on a part that has but a copy of the image is none on it.
    """
    # Sorted here: Firestore would need an index for it, and a night must not fail for want of one.
    reviews = store.find("reviews", {"line": line, "sha256": sha256})
    reviews.sort(key=lambda one: str(one.get("at", "")))
    of_image = [one for one in reviews if one.get("object") not in copies]
    whole = [one for one in of_image if one.get("verdict") in ("pass", "fail") and one.get("by")]
    return str(whole[-1]["verdict"]) if whole else ""
