"""Calibration, fusion and thresholds. Everything here is fitted on validation scores only."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from ml.bundle.card import Platt, Thresholds
from ml.evaluation.scores import ValidationScores
from ml.settings.line import CostsConfig

Numbers = npt.NDArray[np.float64]

# Weak priors: they bound the slope where validation is perfectly separated, and do nothing else.
_SLOPE_PRIOR = 0.02
_FUSION_PRIOR = 0.5

# Good-only validation: a part above this share of good ones is held.
_GOOD_QUANTILE = 0.99


@dataclass(frozen=True)
class Fusion:
    """Log-odds of a defect = intercept + sum of weight * calibrated log-odds."""

    calibrations: dict[str, Platt]
    weights: dict[str, float]
    intercept: float
    warnings: tuple[str, ...]


def fit_fusion(scores: ValidationScores) -> Fusion:
    """Calibrate each model (Platt, 1999), then weigh them (logistic, weights not negative).

    Without defects in validation, each score is calibrated so that the 99 % quantile of good
    parts lies on even odds, and the models weigh the same; the warning says so.
    """
    labels = scores.is_defect.astype(float)
    if labels.all() or not labels.any():
        return _good_only(scores)
    calibrations = {name: fit_platt(raw, labels) for name, raw in scores.raw.items()}
    odds = np.column_stack([_apply(calibrations[name], raw) for name, raw in scores.raw.items()])
    weights, intercept = _fit_weights(odds, labels)
    named = dict(zip(scores.raw, weights, strict=True))
    return Fusion(calibrations, named, intercept, ())


def fit_platt(raw: Numbers, labels: Numbers) -> Platt:
    """Slope (not negative) and intercept of the logistic curve that best explains the labels."""
    centre, spread = float(raw.mean()), float(raw.std()) or 1.0
    scaled = (raw - centre) / spread

    def cost(theta: Numbers) -> float:
        odds = theta[0] * scaled + theta[1]
        return float(np.logaddexp(0, np.where(labels > 0, -odds, odds)).sum()) + float(
            _SLOPE_PRIOR * theta[0] ** 2
        )

    best = minimize(cost, np.array([1.0, 0.0]), bounds=[(0, None), (None, None)]).x
    slope = float(best[0]) / spread
    return Platt(slope=_six(slope), intercept=_six(float(best[1]) - slope * centre))


def thresholds(costs: CostsConfig) -> Thresholds:
    """The cheapest verdict for each probability (Chow, IEEE Trans. Inf. Theory 1970)."""
    return Thresholds(
        pass_below=costs.review / costs.escape,
        fail_above=1 - costs.review / costs.overkill,
        escape_cost=costs.escape,
        overkill_cost=costs.overkill,
        review_cost=costs.review,
    )


def fused_probability(fusion: Fusion, raw: dict[str, Numbers]) -> Numbers:
    """Probability of a defect for each image."""
    odds = np.full(len(next(iter(raw.values()))), fusion.intercept)
    for name, values in raw.items():
        odds = odds + fusion.weights[name] * _apply(fusion.calibrations[name], values)
    return np.asarray(1 / (1 + np.exp(-np.clip(odds, -700, 700))))


def _fit_weights(odds: Numbers, labels: Numbers) -> tuple[list[float], float]:
    models = odds.shape[1]
    even = 1 / models

    def cost(theta: Numbers) -> float:
        fused = odds @ theta[:-1] + theta[-1]
        fit = float(np.logaddexp(0, np.where(labels > 0, -fused, fused)).sum())
        return fit + float(_FUSION_PRIOR * ((theta[:-1] - even) ** 2).sum())

    start = np.append(np.full(models, even), 0.0)
    bounds = [(0, None)] * models + [(None, None)]
    best = minimize(cost, start, bounds=bounds).x
    return [_six(weight) for weight in best[:-1]], _six(best[-1])


def _good_only(scores: ValidationScores) -> Fusion:
    calibrations = {}
    for name, raw in scores.raw.items():
        slope = 1 / (float(raw.std()) or 1.0)
        limit = float(np.quantile(raw, _GOOD_QUANTILE))
        calibrations[name] = Platt(slope=_six(slope), intercept=_six(-slope * limit))
    weight = _six(1 / len(calibrations))
    warning = (
        "Validation has one kind of part only: probabilities are not calibrated, thresholds come "
        "from the spread of good parts."
    )
    return Fusion(calibrations, dict.fromkeys(calibrations, weight), 0.0, (warning,))


def _apply(platt: Platt, raw: Numbers) -> Numbers:
    return np.asarray(platt.slope * raw + platt.intercept)


def _six(value: float) -> float:
    return float(f"{value:.6g}")
