"""From scores to `pass`, `fail` or `review`. Whatever is unknown is `review`, never `pass`."""

from dataclasses import dataclass, field
from math import exp, isfinite, nan
from typing import Literal

from ml.bundle import Card

Verdict = Literal["pass", "fail", "review"]


@dataclass(frozen=True)
class Decision:
    """A verdict, why, and the calibrated probability of a defect (None when unknown).

    `calibrated` is that probability by each model alone, for those that gave a score.
    """

    verdict: Verdict
    reason: str
    p_defect: float | None
    calibrated: dict[str, float] = field(default_factory=dict)


def decide(card: Card, scores: dict[str, float]) -> Decision:
    """Fuse the raw scores of the bundle's models into a decision.

    A missing or non-finite score of any model of the bundle holds the part for review.
    """
    calibrated = calibrate(card, scores)
    for name in card.models:
        if name not in calibrated:
            return Decision("review", f"no score from the {name}", None, calibrated)
    p = fuse(card, scores)
    if p <= card.thresholds.pass_below:
        return Decision("pass", "", p, calibrated)
    if p >= card.thresholds.fail_above:
        return Decision("fail", "defect", p, calibrated)
    return Decision("review", "doubtful", p, calibrated)


def hold(reason: str) -> Decision:
    """The decision for a part that could not be inspected."""
    return Decision("review", reason, None)


def calibrate(card: Card, scores: dict[str, float]) -> dict[str, float]:
    """Probability of a defect by each model of the bundle alone; none without a finite score."""
    return {
        name: _logistic(model.calibration.slope * scores[name] + model.calibration.intercept)
        for name, model in card.models.items()
        if isfinite(scores.get(name, nan))
    }


def fuse(card: Card, scores: dict[str, float]) -> float:
    """Probability of a defect: logistic of the weighted sum of calibrated log-odds."""
    log_odds = card.fusion_intercept
    for name, model in card.models.items():
        calibrated = model.calibration.slope * scores[name] + model.calibration.intercept
        log_odds += model.fusion_weight * calibrated
    return _logistic(log_odds)


def _logistic(log_odds: float) -> float:
    return 1 / (1 + exp(-max(min(log_odds, 700.0), -700.0)))
