"""Platt scaling and fusion: logistic regressions on validation, in which every group has one say.

Thirty exposures of one tile are one fact about tiles. So each image weighs 1 over the images that
its group has of its kind, and the weights of a kind sum to its number of groups.
"""

from collections import Counter

import numpy as np

from ml.bundle.card import Platt
from ml.errors import LeakError
from ml.evaluation.scores import Flags, Numbers, ValidationScores

# Pull of the fusion weights towards the plain mean of the log-odds, as of so many groups.
_PULL = 1.0
_DIGITS = 6


def fit_platt(validation: ValidationScores, name: str) -> Platt:
    """Platt scaling of one model's scores (Platt 1999).

    His smoothed targets, counted in groups, keep few groups doubtful. A higher score never means a
    less likely defect: the slope is not negative, and 0 where all scores are equal.
    Raises LeakError for scores of another split.
    """
    require_validation(validation)
    raw, defect, weights = validation.raw[name], validation.is_defect, group_weights(validation)
    positives, negatives = weights[defect].sum(), weights[~defect].sum()
    target = np.where(defect, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    # The deviation of equal scores may be a rounding error.
    scale = float(raw.std()) or 1.0 if np.ptp(raw) else 1.0
    centre = float(raw.mean())
    slope, intercept = _logistic(
        (raw - centre)[:, None] / scale, target, weights, pull=0.0, towards=np.zeros(1)
    )
    # Equal scores leave the slope where the solver began.
    found = slope[0] / scale if np.ptp(raw) else 0.0
    return Platt(slope=round_digits(found), intercept=round_digits(intercept - found * centre))


def fit_fusion(
    validation: ValidationScores, calibration: dict[str, Platt]
) -> tuple[dict[str, float], float]:
    """Weights (not negative) and intercept that fuse the calibrated log-odds of the models.

    They are pulled towards the mean of the log-odds, so that separable data do not give certainty.
    Raises LeakError for scores of another split.
    """
    require_validation(validation)
    log_odds = {
        name: platt_log_odds(calibration[name], validation.raw[name]) for name in calibration
    }
    return fuse_log_odds(log_odds, validation.is_defect, group_weights(validation))


def fuse_log_odds(
    log_odds: dict[str, Numbers], defect: Flags, weights: Numbers
) -> tuple[dict[str, float], float]:
    """The regression of `fit_fusion` on log-odds `[N]` by model, of images that weigh `weights`."""
    count = len(log_odds)
    found, intercept = _logistic(
        np.stack(list(log_odds.values()), axis=1),
        defect.astype(float),
        weights,
        pull=_PULL,
        towards=np.full(count, 1 / count),
    )
    rounded = [round_digits(weight) for weight in found]
    return dict(zip(log_odds, rounded, strict=True)), round_digits(intercept)


def group_weights(validation: ValidationScores) -> Numbers:
    """What each image counts `[N]`: 1 over the images of its group and kind."""
    keys = list(zip(validation.groups, validation.is_defect.tolist(), strict=True))
    images = Counter(keys)
    return np.array([1 / images[key] for key in keys])


def require_validation(scores: object) -> None:
    """Raise LeakError unless these are scores of validation."""
    if not isinstance(scores, ValidationScores):
        msg = f"only validation may be fitted on, not {type(scores).__name__}"
        raise LeakError(msg)


def platt_log_odds(platt: Platt, scores: Numbers) -> Numbers:
    """Calibrated log-odds `[N]` of raw scores."""
    return platt.slope * scores + platt.intercept


def sigmoid(log_odds: Numbers) -> Numbers:
    """Probability of log-odds; far out it is 0 or 1 without a warning."""
    return np.asarray(1 / (1 + np.exp(-np.clip(log_odds, -700, 700))))


def round_digits(value: float) -> float:
    # What lies beyond is the solver's and the processor's, and would rename the bundle.
    return float(f"{value:.{_DIGITS}g}")


def round_down(value: float) -> float:
    """A few units of the last digit lower, so that what lies at a threshold stays under it."""
    return round_digits(value - 10.0 ** (1 - _DIGITS) * abs(value))


def _logistic(
    inputs: Numbers, target: Numbers, images: Numbers, *, pull: float, towards: Numbers
) -> tuple[Numbers, float]:
    from scipy.optimize import minimize

    count = inputs.shape[1]

    def loss(values: Numbers) -> tuple[float, Numbers]:
        weights, intercept = values[:count], values[count]
        total = inputs @ weights + intercept
        away = weights - towards
        value = float(images @ (np.logaddexp(0, total) - target * total) + pull * (away @ away))
        error = images * (sigmoid(total) - target)
        return value, np.append(inputs.T @ error + 2 * pull * away, error.sum())

    bounds = [(0, None)] * count + [(None, None)]
    start = np.append(np.ones(count), 0.0)
    found = minimize(
        loss,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": 2000, "ftol": 1e-14, "gtol": 1e-9},
    ).x
    return found[:count], float(found[count])
