"""From scores to `pass`, `fail` or `review`. Whatever is unknown is `review`, never `pass`."""

from dataclasses import dataclass
from math import exp, isfinite
from typing import Literal

from ml.bundle import Card

Verdict = Literal["pass", "fail", "review"]


@dataclass(frozen=True)
class Decision:
    """A verdict, why, and the calibrated probability of a defect (None when unknown)."""

    verdict: Verdict
    reason: str
    p_defect: float | None


def decide(card: Card, scores: dict[str, float]) -> Decision:
    """Fuse the raw scores of the bundle's models into a decision.

    A missing or non-finite score of any model of the bundle holds the part for review.
    """
    for name in card.models:
        if name not in scores or not isfinite(scores[name]):
            return Decision("review", f"no score from the {name}", None)
    p = fuse(card, scores)
    if p <= card.thresholds.pass_below:
        return Decision("pass", "", p)
    if p >= card.thresholds.fail_above:
        return Decision("fail", "defect", p)
    return Decision("review", "doubtful", p)


def hold(reason: str) -> Decision:
    """The decision for a part that could not be inspected."""
    return Decision("review", reason, None)


def fuse(card: Card, scores: dict[str, float]) -> float:
    """Probability of a defect: logistic of the weighted sum of calibrated log-odds."""
    log_odds = card.fusion_intercept
    for name, model in card.models.items():
        calibrated = model.calibration.slope * scores[name] + model.calibration.intercept
        log_odds += model.fusion_weight * calibrated
    return 1 / (1 + exp(-max(min(log_odds, 700.0), -700.0)))
