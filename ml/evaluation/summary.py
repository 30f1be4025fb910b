"""The metrics of a bundle on held-out test groups, with intervals."""

from dataclasses import dataclass

import numpy as np

from ml.bundle.card import EscapeCeiling, Metric
from ml.evaluation import metrics
from ml.evaluation.calibrate import Fit, model_probabilities, probabilities
from ml.evaluation.intervals import (
    MIN_GROUPS,
    auroc_metric,
    bootstrap_weights,
    count_groups,
    rate_metric,
    to_metric,
)
from ml.evaluation.localisation import map_metrics
from ml.evaluation.pixels import MapEvidence
from ml.evaluation.prevalence import at_prevalence
from ml.evaluation.reliability import calibration_error
from ml.evaluation.scores import Flags, Numbers, TestScores
from ml.evaluation.thresholds import (
    ESCAPED_GROUPS,
    MILLION,
    against_ceiling,
    escaped_groups,
    rates,
    verdicts,
)

# From this probability on an image counts as found, for the F measures only.
_EVEN_ODDS = 0.5


@dataclass(frozen=True)
class Summary:
    """Metrics by `<model>.<metric>`, and what must be said about them."""

    metrics: dict[str, Metric]
    warnings: tuple[str, ...]


def summarise(test: TestScores, maps: MapEvidence, fit: Fit, seed: int) -> Summary:
    """Every metric of every model and of their fusion."""
    defect = test.is_defect
    weights = bootstrap_weights(test.groups, seed)
    in_plant = at_prevalence(weights, defect, fit.thresholds.prevalence)
    n_defect, n_good = count_groups(test.groups, defect), count_groups(test.groups, ~defect)
    enough = min(n_defect, n_good) >= MIN_GROUPS
    n = count_groups(test.groups, np.ones(len(defect), bool))
    p_defect = probabilities(fit, test.raw)
    found: dict[str, Metric] = {}
    for name, raw in {**test.raw, "fused": p_defect}.items():
        p = p_defect if name == "fused" else model_probabilities(fit, name, raw)
        auroc = metrics.auroc(raw, defect, weights)
        found[f"{name}.auroc"] = auroc_metric(auroc, n, n_defect, n_good, enough=enough)
        for key, values in _ap_and_f(raw, p >= _EVEN_ODDS, defect, weights).items():
            found[f"{name}.{key}"] = to_metric(values, n, enough=enough)
        found[f"{name}.ece"] = calibration_error(p, defect, in_plant, n, enough=enough)
    at_thresholds = rates(p_defect, fit.thresholds, test, weights)
    found |= {f"fused.{name}": metric for name, metric in at_thresholds.items()}
    found |= map_metrics(maps, test, weights)
    if maps.types is not None:
        _, failed = verdicts(p_defect, fit.thresholds)
        found["classifier.type_accuracy"] = _type_accuracy(test, maps.types, failed, weights)
    warnings = _warnings(n_defect, n_good)
    if fit.thresholds.ceiling is not None:
        found[ESCAPED_GROUPS] = escaped_groups(p_defect, fit.thresholds, test)
        warnings += _above_ceiling(found[ESCAPED_GROUPS], fit.thresholds.ceiling)
    return Summary(dict(sorted(found.items())), warnings)


def _type_accuracy(
    test: TestScores, types: tuple[str, ...], failed: Flags, weights: Numbers
) -> Metric:
    """Share of the failed defects whose type is right, of those whose true type is known."""
    right = [one.defect_type == said for one, said in zip(test.samples, types, strict=True)]
    known = np.array([one.is_defect and one.defect_type != "" for one in test.samples], bool)
    among = failed & known
    n = count_groups(test.groups, among)
    values = metrics.rate(np.array(right, bool), among, weights)
    return rate_metric(values, n, enough=n >= MIN_GROUPS)


def _above_ceiling(found: Metric, ceiling: EscapeCeiling) -> tuple[str, ...]:
    if found.value is None or found.value * MILLION <= ceiling.max_escape_ppm:
        return ()
    return (f"Above the ceiling on escapes: {against_ceiling(found, ceiling)}.",)


def _ap_and_f(raw: Numbers, found: Flags, defect: Flags, weights: Numbers) -> dict[str, Numbers]:
    return {
        "ap": metrics.average_precision(raw, defect, weights),
        "f1": _defined(metrics.f_beta(found, defect, weights, 1), defect),
        "f2": _defined(metrics.f_beta(found, defect, weights, 2), defect),
    }


def _defined(values: Numbers, defect: Flags) -> Numbers:
    return values if defect.any() else np.full_like(values, np.nan)


def _warnings(n_defect: int, n_good: int) -> tuple[str, ...]:
    said = []
    if not n_defect:
        said.append("The test split has no defects: nothing is known about escapes.")
    elif min(n_defect, n_good) < MIN_GROUPS:
        said.append(
            f"Few test groups ({n_defect} with defects, {n_good} good): metrics without interval "
            "are an impression, not a measurement."
        )
    return tuple(said)
