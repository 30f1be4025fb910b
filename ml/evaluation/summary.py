"""The metrics of a bundle on held-out test groups, with intervals."""

from dataclasses import dataclass

import numpy as np

from ml.bundle.card import Metric, Thresholds
from ml.evaluation import metrics
from ml.evaluation.calibrate import Fit, calibrated, probabilities
from ml.evaluation.intervals import (
    MIN_GROUPS,
    bootstrap_weights,
    count_groups,
    rate_metric,
    to_metric,
)
from ml.evaluation.localisation import map_metrics
from ml.evaluation.pixels import MapEvidence
from ml.evaluation.scores import Flags, Numbers, TestScores

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
    n_defect, n_good = count_groups(test.groups, defect), count_groups(test.groups, ~defect)
    enough = min(n_defect, n_good) >= MIN_GROUPS
    n = count_groups(test.groups, np.ones(len(defect), bool))
    p_defect = probabilities(fit, test.raw)
    found: dict[str, Metric] = {}
    for name, raw in {**test.raw, "fused": p_defect}.items():
        odds = calibrated(fit, name, raw) >= 0 if name != "fused" else raw >= _EVEN_ODDS
        for key, values in _rank_and_f(raw, odds, defect, weights).items():
            found[f"{name}.{key}"] = to_metric(values, n, enough=enough)
    found |= _rates(p_defect, fit.thresholds, test, weights)
    found |= map_metrics(maps, test, weights)
    return Summary(dict(sorted(found.items())), _warnings(n_defect, n_good))


def verdicts(p_defect: Numbers, thresholds: Thresholds) -> tuple[Flags, Flags]:
    """Which images pass and which fail; the rest is reviewed."""
    passed = p_defect <= thresholds.pass_below
    return passed, (p_defect >= thresholds.fail_above) & ~passed


def _rank_and_f(raw: Numbers, found: Flags, defect: Flags, weights: Numbers) -> dict[str, Numbers]:
    return {
        "auroc": metrics.auroc(raw, defect, weights),
        "ap": metrics.average_precision(raw, defect, weights),
        "f1": _defined(metrics.f_beta(found, defect, weights, 1), defect),
        "f2": _defined(metrics.f_beta(found, defect, weights, 2), defect),
    }


def _defined(values: Numbers, defect: Flags) -> Numbers:
    return values if defect.any() else np.full_like(values, np.nan)


def _rates(
    p_defect: Numbers, thresholds: Thresholds, test: TestScores, weights: Numbers
) -> dict[str, Metric]:
    defect = test.is_defect
    passed, failed = verdicts(p_defect, thresholds)
    rates = {
        "escape": (passed, defect),
        "overkill": (failed, ~defect),
        "review_rate": (~passed & ~failed, np.ones(len(defect), bool)),
    }
    found = {}
    for name, (event, among) in rates.items():
        n = count_groups(test.groups, among)
        values = metrics.rate(event, among, weights)
        found[f"fused.{name}"] = rate_metric(values, n, enough=n >= MIN_GROUPS)
    return found


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
