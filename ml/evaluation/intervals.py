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
    """A rate. Where no resample differs (0 or 100 %), the bound is Clopper and Pearson's (1934)
    over the `n` groups, because resampling cannot imagine an error that it never saw.
    """
    metric = to_metric(values, n, enough=enough)
    if metric.value not in (0.0, 1.0) or not enough:
        return metric
    bound = round(1 - ((1 - _LEVEL) / 2) ** (1 / n), _DECIMALS)
    limits = {"high": bound} if metric.value == 0.0 else {"low": round(1 - bound, _DECIMALS)}
    return metric.model_copy(update=limits)


def count_groups(groups: Sequence[str], among: Flags) -> int:
    """How many groups have an image in `among`."""
    return len({group for group, inside in zip(groups, among, strict=True) if inside})


def _percentiles(values: Numbers) -> tuple[float | None, float | None]:
    seen = values[~np.isnan(values)]
    if not len(seen):
        return None, None
    low, high = np.percentile(seen, [50 * (1 - _LEVEL), 50 * (1 + _LEVEL)])
    return round(float(low), _DECIMALS), round(float(high), _DECIMALS)
