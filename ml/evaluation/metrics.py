"""Metrics over weighted images, many weightings at once.

Weights are `[R, N]`: one row a resample (see `intervals.py`); each metric returns `[R]`, NaN where
a resample has nothing to count. Scores are raw: only their order matters to rank metrics.
"""

from typing import Any

import numpy as np

from ml.evaluation.scores import Flags, Numbers


def auroc(scores: Numbers, positive: Flags, weights: Numbers) -> Numbers:
    """Area under the ROC curve; ties count half (Mann-Whitney)."""
    pos, neg = _by_score(scores, positive, weights)
    return area_under_roc(pos, neg)


def area_under_roc(pos: Numbers, neg: Numbers) -> Numbers:
    """The same from weights `[R, B]` of positives and negatives in bins of rising score."""
    below = np.cumsum(neg, axis=1) - neg
    wins = (pos * (below + 0.5 * neg)).sum(axis=1)
    return _ratio(wins, pos.sum(axis=1) * neg.sum(axis=1))


def average_precision(scores: Numbers, positive: Flags, weights: Numbers) -> Numbers:
    """Average precision: sum of precision over the steps of recall, no interpolation."""
    pos, neg = _by_score(-scores, positive, weights)
    found = np.cumsum(pos, axis=1)
    precision = _ratio(found, found + np.cumsum(neg, axis=1))
    total = (np.nan_to_num(precision) * pos).sum(axis=1)
    return _ratio(total, pos.sum(axis=1))


def rate(event: Flags, among: Flags, weights: Numbers) -> Numbers:
    """Share of `event` in `among`."""
    return _ratio(weights @ (event & among), weights @ among)


def f_beta(predicted: Flags, positive: Flags, weights: Numbers, beta: float) -> Numbers:
    """F-measure; `beta` above 1 weighs missed defects more than false alarms."""
    hit = (1 + beta**2) * (weights @ (predicted & positive))
    return _ratio(
        hit, hit + beta**2 * (weights @ (~predicted & positive)) + weights @ (predicted & ~positive)
    )


def mean(values: Numbers, among: Flags, weights: Numbers) -> Numbers:
    """Weighted mean of `values` in `among`."""
    return _ratio(weights[:, among] @ values[among], weights @ among)


def _by_score(scores: Numbers, positive: Flags, weights: Numbers) -> tuple[Numbers, Numbers]:
    """Weights of positives and negatives at each distinct score, rising."""
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    ordered = weights[:, order]
    pos = np.add.reduceat(ordered * positive[order], starts, axis=1)
    neg = np.add.reduceat(ordered * ~positive[order], starts, axis=1)
    return pos, neg


def _ratio(top: Any, bottom: Any) -> Numbers:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(bottom > 0, top / bottom, np.nan)
