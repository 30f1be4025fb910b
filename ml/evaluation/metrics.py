"""Metrics over weighted images, many weightings at once.

Weights are `[R, N]`: one row a resample (see `intervals.py`); each metric returns `[R]`, NaN where
a resample has nothing to count. Scores are raw: only their order matters to rank metrics.
"""

from typing import Any

import numpy as np

from ml.evaluation.scores import Flags, Numbers

# False pixels that AUPRO looks at: beyond 30 %, a map is of no use (Bergmann et al.).
PRO_LIMIT = 0.3


def auroc(scores: Numbers, positive: Flags, weights: Numbers) -> Numbers:
    """Area under the ROC curve; ties count half (Mann-Whitney)."""
    pos, neg = _by_score(scores, positive, weights)
    return area_under_roc(pos, neg)


def area_under_roc(pos: Numbers, neg: Numbers) -> Numbers:
    """The same from weights `[R, B]` of positives and negatives in bins of rising score."""
    below = np.cumsum(neg, axis=1) - neg
    wins = (pos * (below + 0.5 * neg)).sum(axis=1)
    return ratio(wins, pos.sum(axis=1) * neg.sum(axis=1))


def area_under_pro(regions: Numbers, negatives: Numbers, limit: float = PRO_LIMIT) -> Numbers:
    """AUPRO (Bergmann et al., IJCV 2021): per-region overlap integrated over the rate of false
    pixels up to `limit`, as a share of the best; a map of one value everywhere has `limit / 2`.

    Takes weights `[R, B]` in bins of rising score: pixels of defect regions, each over the size of
    its region, and pixels that are no defect. Between bins the curve is straight.
    """
    overlap, false = _from_top(regions), _from_top(negatives)
    start, end = np.minimum(false[:, :-1], limit), np.minimum(false[:, 1:], limit)
    width, rise = np.diff(false), np.diff(overlap)
    share = np.divide(end - start, width, out=np.zeros_like(width), where=width > 0)
    area = ((end - start) * (overlap[:, :-1] + rise * share / 2)).sum(axis=1)
    return np.asarray(area / limit)


def average_precision(scores: Numbers, positive: Flags, weights: Numbers) -> Numbers:
    """Average precision: sum of precision over the steps of recall, no interpolation."""
    pos, neg = _by_score(-scores, positive, weights)
    found = np.cumsum(pos, axis=1)
    precision = ratio(found, found + np.cumsum(neg, axis=1))
    total = (np.nan_to_num(precision) * pos).sum(axis=1)
    return ratio(total, pos.sum(axis=1))


def rate(event: Flags, among: Flags, weights: Numbers) -> Numbers:
    """Share of `event` in `among`."""
    return ratio(weights @ (event & among), weights @ among)


def f_beta(predicted: Flags, positive: Flags, weights: Numbers, beta: float) -> Numbers:
    """F-measure; `beta` above 1 weighs missed defects more than false alarms."""
    hit = (1 + beta**2) * (weights @ (predicted & positive))
    return ratio(
        hit, hit + beta**2 * (weights @ (~predicted & positive)) + weights @ (predicted & ~positive)
    )


def mean(values: Numbers, among: Flags, weights: Numbers) -> Numbers:
    """Weighted mean of `values` in `among`."""
    return ratio(weights[:, among] @ values[among], weights @ among)


def ratio(top: Any, bottom: Any) -> Numbers:
    """`top / bottom`; NaN where there is nothing to divide by."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(bottom > 0, top / bottom, np.nan)


def _from_top(counts: Numbers) -> Numbers:
    """Share `[R, 1 + B]` of the weight at and above each bin, from above the highest down."""
    summed = np.cumsum(counts[:, ::-1], axis=1)
    return np.hstack([np.zeros((len(counts), 1)), ratio(summed, summed[:, -1:])])


def _by_score(scores: Numbers, positive: Flags, weights: Numbers) -> tuple[Numbers, Numbers]:
    """Weights of positives and negatives at each distinct score, rising."""
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    ordered = weights[:, order]
    pos = np.add.reduceat(ordered * positive[order], starts, axis=1)
    neg = np.add.reduceat(ordered * ~positive[order], starts, axis=1)
    return pos, neg
