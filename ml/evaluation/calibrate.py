"""From raw scores to a probability of a defect: fitted on validation, and on nothing else."""

from dataclasses import dataclass, replace
from math import log

import numpy as np

from ml.bundle.card import Platt, Thresholds
from ml.errors import DataError, LeakError
from ml.evaluation.scores import Flags, Numbers, ValidationScores
from ml.evaluation.thresholds import chow, require_groups, under_ceiling, with_rates
from ml.files import content_key
from ml.settings.line import CostsConfig

# Pull of the fusion weights towards the plain mean of the log-odds, as of so many images.
_PULL = 1.0
# Without defects: the share of good validation images that stays below the review threshold.
_GOOD_SHARE = 0.95
# Below this share of good validation images that pass, people review most of the line.
_FEW_PASS = 0.5
_DIGITS = 6
# Fits that each leave out a share of the defective groups.
_FOLDS = 10


@dataclass(frozen=True)
class Fit:
    """All that turns raw scores into verdicts."""

    calibration: dict[str, Platt]
    weights: dict[str, float]
    intercept: float
    thresholds: Thresholds
    warnings: tuple[str, ...]


def fit(
    validation: ValidationScores,
    costs: CostsConfig,
    seed: int = 0,
    synthetic: dict[str, Numbers] | None = None,
) -> Fit:
    """Calibrate each model, fuse them, and take the thresholds from the costs or the ceiling.

    `seed` is that of the intervals of the rates at the thresholds; `synthetic` are the raw scores
    of synthetic anomalies, which stand in where validation has no defect, and only there.
    Raises LeakError when the scores are not of validation, DataError when it lacks good images or
    has too few defects for the line's ceiling on escapes.
    """
    if not isinstance(validation, ValidationScores):
        msg = f"only validation may be fitted on, not {type(validation).__name__}"
        raise LeakError(msg)
    defect = validation.is_defect
    if defect.all():
        msg = "validation holds no good image: nothing says what passes; snapshot with more groups"
        raise DataError(msg)
    require_groups(validation.samples, costs)
    thresholds = chow(costs)
    if not defect.any():
        fitted = _fit_good_only(validation.raw, thresholds, synthetic or {})
        return _with_rates(fitted, validation, seed)
    fitted = _fit_models(validation.raw, defect, thresholds)
    if costs.max_escape_ppm is not None:
        unseen = held_out(fitted, validation)
        thresholds = under_ceiling(thresholds, costs.max_escape_ppm, validation, unseen)
    useless = [name for name, platt in fitted.calibration.items() if platt.slope == 0]
    warnings = [f"The {name} does not tell defects from good parts." for name in useless]
    passed = probabilities(fitted, validation.raw)[~defect] <= thresholds.pass_below
    if passed.mean() < _FEW_PASS:
        asked = "what an escape costs" if thresholds.ceiling is None else "the ceiling on escapes"
        warnings.append(
            f"Only {passed.mean():.0%} of the good validation images pass: too few images, or too "
            f"weak models, for {asked}. The rest is reviewed."
        )
    fitted = replace(fitted, thresholds=thresholds, warnings=tuple(warnings))
    return _with_rates(fitted, validation, seed)


def held_out(fitted: Fit, validation: ValidationScores) -> Numbers:
    """p_defect `[N]`, that of a defective image by a fit that has not seen its group's defects.

    Fusion weights that were fitted on a defect flatter it: thresholds from such probabilities broke
    a ceiling on escapes more often than its confidence allows. With one model nothing is flattered,
    because Platt scaling keeps the order.
    """
    defect, groups = validation.is_defect, np.array(validation.groups)
    p_defect = probabilities(fitted, validation.raw)
    if len(validation.raw) == 1:
        return p_defect
    names = sorted(set(groups[defect]), key=lambda name: content_key([name]))
    for fold in range(min(_FOLDS, len(names))):
        out = defect & np.isin(groups, names[fold::_FOLDS])
        rest = {name: raw[~out] for name, raw in validation.raw.items()}
        without = _fit_models(rest, defect[~out], fitted.thresholds)
        left_out = {name: raw[out] for name, raw in validation.raw.items()}
        p_defect[out] = probabilities(without, left_out)
    return p_defect


def fit_platt(raw: Numbers, defect: Flags) -> Platt:
    """Platt scaling (Platt 1999) with his smoothed targets, so that few images stay doubtful.

    A higher score never means a less likely defect: the slope is not negative.
    """
    positives, negatives = int(defect.sum()), int((~defect).sum())
    target = np.where(defect, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    centre, scale = float(raw.mean()), float(raw.std()) or 1.0
    slope, intercept = _logistic(
        (raw - centre)[:, None] / scale, target, pull=0.0, towards=np.zeros(1)
    )
    found = slope[0] / scale
    return Platt(slope=_round(found), intercept=_round(intercept - found * centre))


def fit_fusion(log_odds: Numbers, defect: Flags) -> tuple[tuple[float, ...], float]:
    """Weights (not negative) and intercept of a logistic regression on `[N, models]` log-odds.

    It is pulled towards the mean of the log-odds, so that separable data do not give certainty.
    """
    count = log_odds.shape[1]
    weights, intercept = _logistic(
        log_odds, defect.astype(float), pull=_PULL, towards=np.full(count, 1 / count)
    )
    return tuple(_round(weight) for weight in weights), _round(intercept)


def probabilities(fit: Fit, raw: dict[str, Numbers]) -> Numbers:
    """Fused probability of a defect `[N]`, as `ml.inference.verdict.fuse` computes it."""
    total = np.full(len(next(iter(raw.values()))), fit.intercept)
    for name, scores in raw.items():
        total += fit.weights[name] * _log_odds(fit, name, scores)
    return _sigmoid(total)


def model_probabilities(fit: Fit, name: str, scores: Numbers) -> Numbers:
    """Calibrated probability of a defect `[N]` of one model."""
    return _sigmoid(_log_odds(fit, name, scores))


def _log_odds(fit: Fit, name: str, scores: Numbers) -> Numbers:
    platt = fit.calibration[name]
    return platt.slope * scores + platt.intercept


def _with_rates(fitted: Fit, validation: ValidationScores, seed: int) -> Fit:
    p_defect = probabilities(fitted, validation.raw)
    return replace(fitted, thresholds=with_rates(fitted.thresholds, validation, p_defect, seed))


def _fit_models(raw: dict[str, Numbers], defect: Flags, thresholds: Thresholds) -> Fit:
    calibration = {name: fit_platt(values, defect) for name, values in raw.items()}
    log_odds = [calibration[name].slope * raw[name] + calibration[name].intercept for name in raw]
    weights, intercept = fit_fusion(np.stack(log_odds, axis=1), defect)
    return Fit(calibration, dict(zip(raw, weights, strict=True)), intercept, thresholds, ())


def _fit_good_only(
    good: dict[str, Numbers], thresholds: Thresholds, synthetic: dict[str, Numbers]
) -> Fit:
    """No defects to learn from: what lies above a quantile of the good scores is not passed."""
    margin = log(thresholds.pass_below / (1 - thresholds.pass_below))
    calibration = {}
    for name, raw in good.items():
        edge = float(np.quantile(raw, _GOOD_SHARE))
        spread = max(edge - float(np.median(raw)), 1e-3 * max(abs(edge), 1e-3))
        calibration[name] = Platt(
            slope=_round(1 / spread), intercept=_round(margin - edge / spread)
        )
    weights = dict.fromkeys(calibration, 1 / len(calibration))
    fitted = Fit(calibration, weights, 0.0, thresholds, ())
    if len(good) > 1:
        weights = _weights_from(fitted, good, synthetic) if synthetic else weights
        fitted = _at_the_quantile(replace(fitted, weights=weights), good, margin)
    return replace(fitted, warnings=(_without_defects(fitted, synthetic),))


def _weights_from(
    fitted: Fit, good: dict[str, Numbers], synthetic: dict[str, Numbers]
) -> dict[str, float]:
    """Fusion weights that tell synthetic anomalies from good images; equal if none does."""
    log_odds = np.stack(
        [_log_odds(fitted, name, np.append(good[name], synthetic[name])) for name in good], axis=1
    )
    count = len(next(iter(good.values())))
    weights, _ = fit_fusion(log_odds, np.arange(len(log_odds)) >= count)
    return dict(zip(good, weights, strict=True)) if any(weights) else fitted.weights


def _at_the_quantile(fitted: Fit, good: dict[str, Numbers], margin: float) -> Fit:
    """The fusion passes the same share of the good images as each model alone."""
    total = np.sum([fitted.weights[name] * _log_odds(fitted, name, good[name]) for name in good], 0)
    return replace(fitted, intercept=_round(margin - float(np.quantile(total, _GOOD_SHARE))))


def _without_defects(fitted: Fit, synthetic: dict[str, Numbers]) -> str:
    said = (
        "Validation lacks defects: the thresholds are a quantile "
        f"({_GOOD_SHARE:.0%}) of the good scores, p_defect is not a probability, and no real "
        "defect was measured."
    )
    if not synthetic:
        return said
    held = probabilities(fitted, synthetic) > fitted.thresholds.pass_below
    weights = " The fusion weights were fitted on them." if len(synthetic) > 1 else ""
    return f"{said} Of {len(held)} synthetic anomalies {held.mean():.0%} do not pass.{weights}"


def _logistic(
    inputs: Numbers, target: Numbers, *, pull: float, towards: Numbers
) -> tuple[Numbers, float]:
    from scipy.optimize import minimize

    count = inputs.shape[1]

    def loss(values: Numbers) -> tuple[float, Numbers]:
        weights, intercept = values[:count], values[count]
        total = inputs @ weights + intercept
        away = weights - towards
        value = np.logaddexp(0, total).sum() - target @ total + pull * (away @ away)
        error = _sigmoid(total) - target
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


def _sigmoid(log_odds: Numbers) -> Numbers:
    return np.asarray(1 / (1 + np.exp(-np.clip(log_odds, -700, 700))))


def _round(value: float) -> float:
    # Beyond six digits a figure is the solver's and the processor's, and would rename the bundle.
    return float(f"{value:.{_DIGITS}g}")
