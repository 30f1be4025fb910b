"""95 % intervals by bootstrap over groups: images of one group are not independent."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ml.bundle.card import Metric

# With fewer groups of a kind the bootstrap's interval is far too narrow, so none is given.
MIN_GROUPS = 5
_RESAMPLES = 1000
_SEED = 20261121

Indices = npt.NDArray[np.int64]


def with_interval(
    measure: Callable[[Indices], float],
    groups: npt.NDArray[np.str_],
    is_defect: npt.NDArray[np.bool_],
    needs: tuple[bool, ...] = (True, False),
) -> Metric:
    """`measure(indices)` on all images, with a percentile interval over resampled groups.

    `needs` are the kinds (defect True, good False) that the measure rests on; with fewer than
    MIN_GROUPS groups of any of them there is no interval. `n` counts the groups of the scarcer.
    """
    names, member = np.unique(groups, return_inverse=True)
    of_kind = [len(np.unique(groups[is_defect == kind])) for kind in needs]
    value = _known(measure(np.arange(len(groups))))
    if value is None or min(of_kind) < MIN_GROUPS:
        return Metric(value=value, low=None, high=None, n=min(of_kind))
    order = np.argsort(member, kind="stable")
    rows = np.split(order, np.cumsum(np.bincount(member))[:-1])
    random = np.random.default_rng(_SEED)
    found = []
    for _ in range(_RESAMPLES):
        drawn = random.integers(len(names), size=len(names))
        found.append(measure(np.concatenate([rows[index] for index in drawn])))
    known = np.array(found)[~np.isnan(found)]
    low, high = np.quantile(known, (0.025, 0.975))
    return Metric(value=value, low=_round(low), high=_round(high), n=min(of_kind))


def _known(value: float) -> float | None:
    return None if np.isnan(value) else _round(value)


def _round(value: float) -> float:
    # Four digits are more than any interval here supports, and equal on every machine.
    return round(float(value), 4)
