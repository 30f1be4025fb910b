"""From raw scores to a probability of a defect: fitted on validation, and on nothing else."""

from dataclasses import dataclass, replace
from math import log

import numpy as np

from ml.bundle.card import Platt, Thresholds
from ml.errors import DataError
from ml.evaluation.intervals import count_groups, upper_bound
from ml.evaluation.logistic import (
    fit_fusion,
    fit_platt,
    fuse_log_odds,
    group_weights,
    platt_log_odds,
    require_validation,
    round_digits,
    round_down,
    sigmoid,
)
from ml.evaluation.prevalence import log_odds_shift
from ml.evaluation.scores import Numbers, ValidationScores
from ml.evaluation.thresholds import (
    CONFIDENCE,
    MILLION,
    chow,
    groups_needed,
    require_groups,
    under_ceiling,
    with_rates,
)
from ml.files import content_key
from ml.settings.line import CostsConfig

# Without defects: the share of good validation images that stays below the review threshold.
_GOOD_SHARE = 0.95
# Below this share of good validation images that pass, people review most of the line.
_FEW_PASS = 0.5
# The rate of escapes, and of overkill, that validation should at least be able to rule out.
_RULED_OUT = 0.1
# Fits that each leave out a share of the defective groups.
_FOLDS = 10
# Parts that an error names.
_MOST_NAMED = 5


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
    Raises LeakError when the scores are not of validation, DataError when it lacks good images, has
    a score that is no number, or too few defects for the line's ceiling on escapes.
    """
    require_validation(validation)
    defect = validation.is_defect
    if defect.all():
        msg = "validation holds no good image: nothing says what passes; snapshot with more groups"
        raise DataError(msg)
    require_groups(validation.samples, costs)
    _require_numbers(validation)
    thresholds = chow(costs)
    if defect.any():
        fitted = _fit_models(validation, thresholds, _shift(validation, costs))
        if costs.max_escape_ppm is not None:
            unseen = held_out(fitted, validation, _shift(validation, costs))
            thresholds = under_ceiling(thresholds, costs.max_escape_ppm, validation, unseen)
        useless = [name for name, platt in fitted.calibration.items() if platt.slope == 0]
        said = tuple(f"The {name} does not tell defects from good parts." for name in useless)
        fitted = replace(fitted, thresholds=thresholds, warnings=said)
    else:
        # Its p_defect is no probability, of which a share of defects could be said.
        thresholds = thresholds.model_copy(update={"prevalence": None})
        fitted = _fit_good_only(validation, thresholds, synthetic or {})
    p_defect = probabilities(fitted, validation.raw)
    warnings = (
        *fitted.warnings,
        *(["`costs.prevalence` is not used."] if costs.prevalence and not defect.any() else []),
        *_few_groups(validation),
        *_few_pass(p_defect[~defect], fitted.thresholds, _defective_share(validation)),
    )
    rated = with_rates(fitted.thresholds, validation, p_defect, seed)
    return replace(fitted, thresholds=rated, warnings=warnings)


def held_out(fitted: Fit, validation: ValidationScores, shift: float = 0.0) -> Numbers:
    """p_defect `[N]`, that of a defective image by a fit that has not seen its group's defects.

    `shift` is what the log-odds of `fitted` were moved by.

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
        without = _fit_models(validation.among(~out), fitted.thresholds, shift)
        p_defect[out] = probabilities(without, validation.among(out).raw)
    return p_defect


def probabilities(fit: Fit, raw: dict[str, Numbers]) -> Numbers:
    """Fused probability of a defect `[N]`, as `ml.inference.verdict.fuse` computes it."""
    total = np.full(len(next(iter(raw.values()))), fit.intercept)
    for name, scores in raw.items():
        total += fit.weights[name] * platt_log_odds(fit.calibration[name], scores)
    return sigmoid(total)


def model_probabilities(fit: Fit, name: str, scores: Numbers) -> Numbers:
    """Calibrated probability of a defect `[N]` of one model."""
    return sigmoid(platt_log_odds(fit.calibration[name], scores))


def _require_numbers(validation: ValidationScores) -> None:
    for name, raw in validation.raw.items():
        wrong = [validation.samples[index] for index in np.flatnonzero(~np.isfinite(raw))]
        if wrong:
            parts = ", ".join(f"{one.part} (image {one.sha256})" for one in wrong[:_MOST_NAMED])
            msg = (
                f"the {name} gives {len(wrong)} of {len(raw)} validation images a score that is "
                f"not a finite number, so nothing can be fitted: {parts}. Look at these images, "
                f"and train the {name} again"
            )
            raise DataError(msg)


def _shift(validation: ValidationScores, costs: CostsConfig) -> float:
    """What moves the log-odds from validation's share of defects to the line's."""
    if costs.prevalence is None:
        return 0.0
    return log_odds_shift(_defective_share(validation), costs.prevalence)


def _fit_models(validation: ValidationScores, thresholds: Thresholds, shift: float) -> Fit:
    """Calibration and fusion of validation, with the log-odds of each moved by `shift`."""
    calibration = {name: fit_platt(validation, name) for name in validation.raw}
    weights, intercept = fit_fusion(validation, calibration)
    moved = {
        name: Platt(slope=one.slope, intercept=round_digits(one.intercept + shift))
        for name, one in calibration.items()
    }
    # The fusion adds up what the models moved by; it has to move by the shift once.
    rest = shift * (1 - sum(weights.values()))
    return Fit(moved, weights, round_digits(intercept + rest), thresholds, ())


def _defective_share(validation: ValidationScores) -> float:
    """The share of defects of validation as the fits count them: every group has one say."""
    weights = group_weights(validation)
    return float(weights[validation.is_defect].sum() / weights.sum())


def _few_groups(validation: ValidationScores) -> list[str]:
    """What validation cannot rule out, where even a rate of `_RULED_OUT` is beyond its groups."""
    defect = validation.is_defect
    needed = groups_needed(_RULED_OUT * MILLION)
    kinds = {"Groups with defects": ("escapes", defect), "Good groups": ("overkill", ~defect)}
    said = []
    for kind, (error, among) in kinds.items():
        count = count_groups(validation.groups, among)
        if 0 < count < needed:
            said.append(
                f"{kind} in validation: {count}. Even without an error among them, {error} of up "
                f"to {upper_bound(0, count, CONFIDENCE):.0%} cannot be ruled out "
                f"({CONFIDENCE:.0%} confidence); to rule out more than {_RULED_OUT:.0%} takes "
                f"{needed}."
            )
    return said


def _few_pass(p_good: Numbers, thresholds: Thresholds, defective: float) -> list[str]:
    passed = p_good <= thresholds.pass_below
    if passed.mean() >= _FEW_PASS:
        return []
    asked = "what an escape costs" if thresholds.ceiling is None else "the ceiling on escapes"
    said = (
        f"Only {passed.sum()} of {len(passed)} good validation images pass: too few images, or too "
        f"weak models, for {asked}. The rest is reviewed or fails."
    )
    if thresholds.ceiling is None and thresholds.prevalence is None and defective > 0:
        said += (
            f" Of the validation groups {defective:.0%} are taken to be defective; if the line "
            "makes fewer defects, say how many in `costs.prevalence`."
        )
    return [said]


def _fit_good_only(
    validation: ValidationScores, thresholds: Thresholds, synthetic: dict[str, Numbers]
) -> Fit:
    """No defects to learn from: what lies above a quantile of the good scores is not passed."""
    good = validation.raw
    margin = log(thresholds.pass_below / (1 - thresholds.pass_below))
    calibration = {}
    for name, raw in good.items():
        edge = float(np.quantile(raw, _GOOD_SHARE))
        spread = max(edge - float(np.median(raw)), 1e-3 * max(abs(edge), 1e-3))
        slope = round_digits(1 / spread)
        calibration[name] = Platt(slope=slope, intercept=round_down(margin - slope * edge))
    weights = dict.fromkeys(calibration, 1 / len(calibration))
    fitted = Fit(calibration, weights, 0.0, thresholds, ())
    if len(good) > 1:
        weights = _weights_from(fitted, validation, synthetic) if synthetic else weights
        fitted = _at_the_quantile(replace(fitted, weights=weights), good, margin)
    return replace(fitted, warnings=(_without_defects(fitted, validation, synthetic),))


def _weights_from(
    fitted: Fit, validation: ValidationScores, synthetic: dict[str, Numbers]
) -> dict[str, float]:
    """Fusion weights that tell synthetic anomalies from good images; equal if none does."""
    log_odds = {
        name: platt_log_odds(platt, np.append(validation.raw[name], synthetic[name]))
        for name, platt in fitted.calibration.items()
    }
    good, made = len(validation.samples), len(next(iter(synthetic.values())))
    images = np.append(group_weights(validation), np.ones(made))
    weights, _ = fuse_log_odds(log_odds, np.arange(good + made) >= good, images)
    return weights if any(weights.values()) else fitted.weights


def _at_the_quantile(fitted: Fit, good: dict[str, Numbers], margin: float) -> Fit:
    """The fusion passes the same share of the good images as each model alone."""
    total = np.sum(
        [
            fitted.weights[name] * platt_log_odds(platt, good[name])
            for name, platt in fitted.calibration.items()
        ],
        axis=0,
    )
    return replace(fitted, intercept=round_down(margin - float(np.quantile(total, _GOOD_SHARE))))


def _without_defects(
    fitted: Fit, validation: ValidationScores, synthetic: dict[str, Numbers]
) -> str:
    images, groups = len(validation.samples), len(set(validation.groups))
    said = (
        "Validation lacks defects: the thresholds are a quantile "
        f"({_GOOD_SHARE:.0%}) of {images} good images of {groups} groups, so about "
        f"{expected_above(groups):.0%} of new good parts will not pass; p_defect is not a "
        "probability, and no real defect was measured."
    )
    if not synthetic:
        return said
    held = probabilities(fitted, synthetic) > fitted.thresholds.pass_below
    weights = " The fusion weights were fitted on them." if len(synthetic) > 1 else ""
    return f"{said} Of {len(held)} synthetic anomalies {held.mean():.0%} do not pass.{weights}"


def expected_above(count: int) -> float:
    """Share of new values expected above the quantile of `count` independent ones.

    The k-th of n values has k / (n + 1) of the new ones below it on average, whatever their
    distribution; the quantile is read between two of them.
    """
    return 1 - (1 + (count - 1) * _GOOD_SHARE) / (count + 1)
