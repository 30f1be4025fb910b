"""Two-sample tests on one row per part, with the false-alarm rate of a whole night controlled.

Exposures of one part are not independent, so every value is first averaged over its part. The
p-values of a night are corrected by Holm (Scand. J. Statistics 1979): the chance that any test of a
night without drift rejects is at most alpha.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest, ks_2samp

Numbers = npt.NDArray[np.float64]

_PERMUTATIONS = 999
_SEED = 20261121
_MMD_ROWS = 400


@dataclass(frozen=True)
class Test:
    """One test of a night. `effect` is in standard deviations of the reference."""

    __test__ = False  # not a test case

    name: str
    statistic: float
    p_value: float
    effect: float


def by_part(parts: list[str], values: Numbers) -> Numbers:
    """Mean of `values` `[N]` or `[N, D]` over each part, parts in order of name."""
    names, member = np.unique(np.array(parts, str), return_inverse=True)
    sums = np.zeros((len(names), *values.shape[1:]))
    np.add.at(sums, member, values)
    counts = np.bincount(member).reshape(-1, *[1] * (values.ndim - 1))
    return np.asarray(sums / counts)


def distribution_test(name: str, reference: Numbers, current: Numbers) -> Test:
    """Kolmogorov-Smirnov; the effect is the shift of the mean in reference deviations."""
    found = ks_2samp(reference, current)
    spread = float(reference.std()) or 1e-9
    effect = abs(float(current.mean() - reference.mean())) / spread
    return Test(name, float(found.statistic), float(found.pvalue), min(effect, 99.0))


def embedding_test(name: str, reference: Numbers, current: Numbers) -> Test:
    """Maximum mean discrepancy, Gaussian kernel at the median distance, permutation p-value.

    Gretton et al., JMLR 2012. Inputs `[N, D]`, `[M, D]`; at most 400 rows of each are used.
    """
    random = np.random.default_rng(_SEED)
    first, second = (_some(rows, random) for rows in (reference, current))
    centre, spread = first.mean(axis=0), first.std(axis=0) + 1e-9
    pooled = (np.concatenate([first, second]) - centre) / spread
    squared = np.maximum(
        (pooled**2).sum(1)[:, None] - 2 * pooled @ pooled.T + (pooled**2).sum(1), 0
    )
    kernel = np.exp(-squared / np.median(squared[squared > 0]))
    is_first = np.arange(len(pooled)) < len(first)
    observed = _mmd(kernel, is_first)
    permuted = [_mmd(kernel, random.permutation(is_first)) for _ in range(_PERMUTATIONS)]
    p_value = (1 + sum(value >= observed for value in permuted)) / (1 + _PERMUTATIONS)
    effect = float(np.abs(pooled[~is_first].mean(axis=0)).mean())
    return Test(name, float(observed), float(p_value), min(effect, 99.0))


def share_test(name: str, reference: float, hits: int, count: int) -> Test:
    """Exact binomial test of a share against the reference's share."""
    expected = min(max(reference, 1e-3), 1 - 1e-3)
    found = binomtest(hits, count, expected)
    spread = float(np.sqrt(expected * (1 - expected)))
    return Test(name, hits / count, float(found.pvalue), abs(hits / count - expected) / spread)


def holm(p_values: list[float], alpha: float) -> list[float]:
    """The level that each p-value must not exceed to count as drift; 0 where it cannot count."""
    levels = [0.0] * len(p_values)
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        level = alpha / (len(p_values) - rank)
        if p_values[index] > level:
            break
        levels[index] = level
    return levels


def _mmd(kernel: Numbers, is_first: npt.NDArray[np.bool_]) -> float:
    first, second = is_first.astype(float), (~is_first).astype(float)
    n, m = first.sum(), second.sum()
    within = first @ kernel @ first / n**2 + second @ kernel @ second / m**2
    return float(within - 2 * (first @ kernel @ second) / (n * m))


def _some(rows: Numbers, random: np.random.Generator) -> Numbers:
    if len(rows) <= _MMD_ROWS:
        return rows
    return rows[np.sort(random.choice(len(rows), _MMD_ROWS, replace=False))]
