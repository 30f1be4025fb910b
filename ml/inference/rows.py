"""A part as its row of the predictions."""

import json
from math import isfinite
from typing import Any

from ml.bundle.card import Card
from ml.inference.engine import Inspection
from ml.inference.regions import regions_of
from ml.inference.verdict import Decision

# Digits of what is stored: the rest is noise of the processor, and a repeated shard is equal.
_DECIMALS = 5
# Of a probability digits: where few parts are defective, decimals would leave nothing of it.
_DIGITS = 5

Row = dict[str, Any]

_COPIED = ("shard", "object", "sha256", "part", "lot", "camera", "captured_at")


def prediction(
    day: str, bundle: str, image: Row, outcome: Inspection | Decision, card: Card | None
) -> Row:
    """The row of an image: what was found, or, without an inspection, why it is held.

    `card` is None only where no bundle inspected it.
    """
    row: Row = {"day": day, "bundle": bundle} | {name: image[name] for name in _COPIED}
    if isinstance(outcome, Decision):
        return row | {"verdict": outcome.verdict, "reason": outcome.reason, "defect_type": ""}
    assert card is not None
    decision, scored = outcome.decision, outcome.scored
    row |= {f"score_{name}": _plain(value) for name, value in scored.scores.items()}
    row |= {f"p_{name}": stored_probability(value) for name, value in decision.calibrated.items()}
    return row | {
        "verdict": decision.verdict,
        "reason": decision.reason,
        "p_defect": stored_probability(decision.p_defect),
        "defect_type": outcome.defect_type if decision.verdict != "pass" else "",
        "area": _plain(scored.area),
        "regions": _regions(image, outcome, card),
        "embedding": scored.embedding,
    }


def _regions(image: Row, outcome: Inspection, card: Card) -> str | None:
    """The regions of a part that is not passed, as JSON; None without a segmenter."""
    if outcome.decision.verdict == "pass":
        return None
    found = regions_of(card, outcome.scored, (image["height"], image["width"]))
    return None if found is None else json.dumps([region.document() for region in found])


def stored_probability(value: float | None) -> float | None:
    """A probability as predictions and the drift reference have it; what is not finite is none."""
    return None if value is None or not isfinite(value) else float(f"{value:.{_DIGITS}g}")


def _plain(value: float | None) -> float | None:
    """A number as it is stored; what is not finite is no score, and no document can hold it."""
    return None if value is None or not isfinite(value) else round(value, _DECIMALS)
