"""Two-sample tests on one row per group, with the false-alarm rate of a whole night controlled.

Images of one group are not independent, so every value is first averaged over its group. The
p-values of a night are corrected by Holm (Scand. J. Statistics 1979): the chance that any test of a
night without drift rejects is at most alpha.
"""

from dataclasses import dataclass
from math import comb

import numpy as np
import numpy.typing as npt
from scipy.stats import fisher_exact, ks_2samp

Numbers = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

# Of a measure that hardly varied in the reference the shift has no meaningful size beyond this.
MAX_EFFECT = 99.0

_SEED = 20261121
_MMD_ROWS = 400
_PERMUTATIONS_AT_ONCE = 1000
# Permutations that leave the discrepancy as it is must count as equal in spite of rounding.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Test:
    """One test of a night. `effect` is in standard deviations of the reference."""

    __test__ = False  # not a test case

    name: str
    statistic: float
    p_value: float
    effect: float


def by_group(groups: list[str], values: Numbers) -> Numbers:
    """Mean of `values` `[N]` or `[N, D]` over each group, groups in order of name.

    In single precision: what never varies, such as the aspect of a camera, has else other last
    digits in groups of another size, which is drift to a test that looks at order alone.
    """
    names, member = np.unique(np.array(groups, str), return_inverse=True)
    sums = np.zeros((len(names), *values.shape[1:]))
    np.add.at(sums, member, values)
    counts = np.bincount(member).reshape(-1, *[1] * (values.ndim - 1))
    return (sums / counts).astype(np.float32).astype(np.float64)


def can_reject(first: int, second: int, level: float) -> bool:
    """Whether an exact two-sample test of so many rows has a p-value as small as `level`."""
    return min(first, second) > 0 and 2 / comb(first + second, first) <= level


def distribution_test(name: str, reference: Numbers, current: Numbers) -> Test:
    """Kolmogorov-Smirnov; the effect is the shift of the mean in reference deviations, at most
    `MAX_EFFECT`.
    """
    found = ks_2samp(reference, current)
    spread = float(reference.std()) or 1e-9
    effect = abs(float(current.mean() - reference.mean())) / spread
    return Test(name, float(found.statistic), float(found.pvalue), min(effect, MAX_EFFECT))


def embedding_test(name: str, reference: Numbers, current: Numbers, permutations: int) -> Test:
    """Maximum mean discrepancy, Gaussian kernel at the median distance, permutation p-value.

    Gretton et al., JMLR 2012. Inputs `[N, D]`, `[M, D]`; at most 400 rows of each are used. The
    smallest p-value is 1 / (1 + permutations). Both sides are scaled together, else the scale would
    tell them apart; the effect is in standard deviations of both.
    """
    random = np.random.default_rng(_SEED)
    first, second = (_some(rows, random) for rows in (reference, current))
    pooled = np.concatenate([first, second])
    pooled = (pooled - pooled.mean(axis=0)) / (pooled.std(axis=0) + 1e-9)
    kernel = _kernel(pooled)
    is_first = (np.arange(len(pooled)) < len(first)).astype(float)
    observed = float(_discrepancy(kernel, is_first[None])[0])
    as_large = 0
    for start in range(0, permutations, _PERMUTATIONS_AT_ONCE):
        count = min(_PERMUTATIONS_AT_ONCE, permutations - start)
        dealt = random.permuted(np.tile(is_first, (count, 1)), axis=1)
        as_large += int((_discrepancy(kernel, dealt) >= observed - _ROUNDING).sum())
    shift = pooled[len(first) :].mean(axis=0) - pooled[: len(first)].mean(axis=0)
    return Test(name, observed, (1 + as_large) / (1 + permutations), float(np.abs(shift).mean()))


def share_test(name: str, reference: Flags, current: Flags) -> Test:
    """Fisher's exact test of two shares; both are samples, the reference's too."""
    hits = [int(side.sum()) for side in (reference, current)]
    table = [[hits[0], len(reference) - hits[0]], [hits[1], len(current) - hits[1]]]
    share = float(current.mean())
    # Half a hit and half a miss more: a reference without hits has a deviation, too.
    expected = (hits[0] + 0.5) / (len(reference) + 1)
    effect = abs(share - expected) / float(np.sqrt(expected * (1 - expected)))
    return Test(name, share, float(fisher_exact(table).pvalue), effect)


def holm(p_values: list[float], alpha: float) -> list[float]:
    """The level that each p-value must not exceed to count as drift; 0 where it cannot count."""
    levels = [0.0] * len(p_values)
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        level = alpha / (len(p_values) - rank)
        if p_values[index] > level:
            break
        levels[index] = level
    return levels


def _kernel(rows: Numbers) -> Numbers:
    norms = (rows**2).sum(axis=1)
    squared = np.maximum(norms[:, None] - 2 * rows @ rows.T + norms, 0)
    apart = squared[squared > 0]
    return np.asarray(np.exp(-squared / (np.median(apart) if apart.size else 1.0)))


def _discrepancy(kernel: Numbers, is_first: Numbers) -> Numbers:
    """Squared discrepancy `[B]` of the rows of each `is_first` `[B, N]` (1 or 0) to the rest."""
    sums = kernel.sum(axis=0)
    inside = ((is_first @ kernel) * is_first).sum(axis=1)
    touched = is_first @ sums
    outside = sums.sum() - 2 * touched + inside
    n = is_first[0].sum()
    m = len(kernel) - n
    return np.asarray(inside / n**2 + outside / m**2 - 2 * (touched - inside) / (n * m))


def _some(rows: Numbers, random: np.random.Generator) -> Numbers:
    if len(rows) <= _MMD_ROWS:
        return rows
    return rows[np.sort(random.choice(len(rows), _MMD_ROWS, replace=False))]
