"""A part as its row of the predictions."""

import json
from math import isfinite
from typing import Any

from ml.inference.engine import Inspection
from ml.inference.regions import find_regions
from ml.inference.verdict import Decision

# Digits of what is stored: the rest is noise of the processor, and a repeated shard is equal.
_DECIMALS = 5

Row = dict[str, Any]

_COPIED = ("shard", "object", "sha256", "part", "lot", "camera", "captured_at")


def prediction(
    day: str, bundle: str, image: Row, outcome: Inspection | Decision, mm_per_pixel: float | None
) -> Row:
    """The row of an image: what was found, or, without an inspection, why it is held."""
    row: Row = {"day": day, "bundle": bundle} | {name: image[name] for name in _COPIED}
    if isinstance(outcome, Decision):
        return row | {"verdict": outcome.verdict, "reason": outcome.reason, "defect_type": ""}
    decision, scored = outcome.decision, outcome.scored
    row |= {f"score_{name}": _plain(value) for name, value in scored.scores.items()}
    row |= {f"p_{name}": _plain(value) for name, value in decision.calibrated.items()}
    return row | {
        "verdict": decision.verdict,
        "reason": decision.reason,
        "p_defect": _plain(decision.p_defect),
        "defect_type": outcome.defect_type if decision.verdict != "pass" else "",
        "area": _plain(scored.area),
        "regions": _regions(image, outcome, mm_per_pixel),
        "embedding": scored.embedding,
    }


def _regions(image: Row, outcome: Inspection, mm_per_pixel: float | None) -> str | None:
    """The regions of a part that is not passed, as JSON; None without a segmenter."""
    mask, heat = outcome.scored.defect_mask, outcome.scored.defect_map
    if mask is None or heat is None or outcome.decision.verdict == "pass":
        return None
    found = find_regions(mask, heat, (image["height"], image["width"]), mm_per_pixel)
    return json.dumps([region.document() for region in found])


def _plain(value: float | None) -> float | None:
    """A number as it is stored; what is not finite is no score, and no document can hold it."""
    return None if value is None or not isfinite(value) else round(value, _DECIMALS)
