"""Intervals by resampling whole groups (Field and Welsh, JRSS B 2007)."""

from collections.abc import Sequence

import numpy as np

from ml.bundle.card import Metric
from ml.evaluation.scores import Flags, Numbers

RESAMPLES = 1000
# With fewer groups of either kind an interval by resampling would only pretend.
MIN_GROUPS = 5
_LEVEL = 0.95
_DECIMALS = 4
# An AUROC of 0 or 1 has no standard error of its own; so far from it there is one.
_NEAR = 1e-9


def bootstrap_weights(groups: Sequence[str], seed: int, resamples: int = RESAMPLES) -> Numbers:
    """Weights `[1 + resamples, N]`: first the data as they are, then resampled groups."""
    names, index = np.unique(np.array(groups, dtype=str), return_inverse=True)
    count = len(names)
    random = np.random.default_rng(seed)
    drawn = random.multinomial(count, np.full(count, 1 / count), size=resamples)
    return np.vstack([np.ones(len(groups)), drawn[:, index]]).astype(np.float64)


def to_metric(values: Numbers, n: int, *, enough: bool) -> Metric:
    """A metric from its `[1 + resamples]` values; no interval unless there are `enough` groups."""
    value = float(values[0])
    if np.isnan(value):
        return Metric(value=None, low=None, high=None, n=n)
    low, high = _percentiles(values[1:]) if enough else (None, None)
    return Metric(value=round(value, _DECIMALS), low=low, high=high, n=n)


def rate_metric(values: Numbers, n: int, *, enough: bool) -> Metric:
    """A rate over `n` groups, with the wider of two intervals on each side.

    Resampling cannot imagine more errors than it saw, so with few of them its interval is too
    narrow; Clopper and Pearson's (1934) knows groups as good or bad only, so where errors cluster
    in groups it may be too narrow itself.
    """
    metric = to_metric(values, n, enough=enough)
    if metric.low is None:
        return metric
    return _widened(metric, *exact_interval(float(values[0]) * n, n))


def auroc_metric(
    values: Numbers, n: int, positives: int, negatives: int, *, enough: bool
) -> Metric:
    """An AUROC of so many groups of either kind, with the wider of two intervals on each side.

    Resampled, a model without an error is always without one: of ten groups with defects the
    interval leaves out a true 0.98 in one of four tests. Newcombe's does not, but knows groups as
    single images.
    """
    metric = to_metric(values, n, enough=enough)
    if metric.low is None:
        return metric
    return _widened(metric, *auroc_interval(float(values[0]), positives, negatives))


def auroc_interval(auroc: float, positives: int, negatives: int) -> tuple[float, float]:
    """Newcombe's two-sided 95 % interval (method 5, Statistics in Medicine 25, 2006) of an AUROC.

    The true values whose own standard error (Hanley and McNeil, Radiology 1982) puts it within
    reach, so that it has a width at 1 too.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtri

    reach = float(ndtri((1 + _LEVEL) / 2))
    spare = (positives + negatives) / 2 - 1

    def beyond(true: float) -> float:
        share = (1 - true) / (2 - true) + true / (1 + true)
        variance = true * (1 - true) * (1 + spare * share) / (positives * negatives)
        return float((true - auroc) ** 2 - reach**2 * variance)

    inside = min(max(auroc, _NEAR), 1 - _NEAR)
    low = brentq(beyond, 0, inside) if auroc > 0 else 0.0
    high = brentq(beyond, inside, 1) if auroc < 1 else 1.0
    return min(float(low), auroc), max(float(high), auroc)


def exact_interval(events: float, n: int) -> tuple[float, float]:
    """Clopper and Pearson's two-sided 95 % interval (1934) of a rate."""
    side = (1 + _LEVEL) / 2
    return 1 - upper_bound(n - events, n, side), upper_bound(events, n, side)


def upper_bound(events: float, n: int, confidence: float) -> float:
    """One-sided exact upper bound of a rate (Clopper and Pearson); `events` need not be whole."""
    from scipy.special import betaincinv

    return 1.0 if events >= n else float(betaincinv(events + 1, n - events, confidence))


def count_groups(groups: Sequence[str], among: Flags) -> int:
    """How many groups have an image in `among`."""
    return len({group for group, inside in zip(groups, among, strict=True) if inside})


def _widened(metric: Metric, low: float, high: float) -> Metric:
    assert metric.low is not None
    assert metric.high is not None
    wider = min(metric.low, round(low, _DECIMALS)), max(metric.high, round(high, _DECIMALS))
    return metric.model_copy(update={"low": wider[0], "high": wider[1]})


def _percentiles(values: Numbers) -> tuple[float | None, float | None]:
    seen = values[~np.isnan(values)]
    if not len(seen):
        return None, None
    low, high = np.percentile(seen, [50 * (1 - _LEVEL), 50 * (1 + _LEVEL)])
    return round(float(low), _DECIMALS), round(float(high), _DECIMALS)
