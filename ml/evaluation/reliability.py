"""Does a probability of 0.2 mean one defect in five? Calibration error and reliability curve."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml.bundle.card import Metric
from ml.evaluation.scores import Flags, Numbers

# As many bins as the field has, and fewer where a bin would hold fewer images than this.
_BINS = 10
_PER_BIN = 10
_DECIMALS = 4


@dataclass(frozen=True)
class Curve:
    """Mean probability and share of defects `[B]` of each bin, and the share's 95 % interval."""

    predicted: Numbers
    observed: Numbers
    low: Numbers
    high: Numbers


def equal_mass_bins(p: Numbers) -> npt.NDArray[np.int64]:
    """The bin `[N]` of each probability: about as many images in each, equal ones in the same."""
    count = max(1, min(_BINS, len(p) // _PER_BIN))
    rank = np.searchsorted(np.sort(p), p, side="left")
    _, bins = np.unique(rank * count // max(len(p), 1), return_inverse=True)
    return np.asarray(bins, np.int64)


def calibration_error(
    p: Numbers, defect: Flags, weights: Numbers, n: int, *, enough: bool
) -> Metric:
    """Expected calibration error: mean distance of the probability from the share of defects.

    Over bins of equal mass, which Roelofs et al. (AISTATS 2022, arXiv:2012.08668) found less biased
    than bins of equal width. `weights` `[1 + resamples, N]` are `intervals.bootstrap_weights`; `n`
    is their number of groups. Unknown (None) where the images are of one kind.

    The error of few images is above zero however good the probabilities are, and that of a resample
    is higher still, so percentiles would leave out the truth. The lower limit takes off what
    resampling moves the bins by (triangle inequality); the upper one is the basic bootstrap's. Bins
    that hold one kind only do not move, so the interval of separable data is too narrow.
    """
    if defect.all() or not defect.any():
        return Metric(value=None, low=None, high=None, n=n)
    mass, predicted, observed = _by_bin(p, defect, weights)
    gaps = (predicted - observed) / mass.sum(axis=1, keepdims=True)
    errors = np.abs(gaps).sum(axis=1)
    value = float(errors[0])
    low = high = None
    if enough:
        noise = np.abs(gaps[1:] - gaps[0]).sum(axis=1)
        low = round(max(0.0, value - float(np.nanpercentile(noise, 97.5))), _DECIMALS)
        high = round(max(value, 2 * value - float(np.nanpercentile(errors[1:], 2.5))), _DECIMALS)
    return Metric(value=round(value, _DECIMALS), low=low, high=high, n=n)


def reliability_curve(p: Numbers, defect: Flags, weights: Numbers) -> Curve:
    """The reliability diagram of the images as they are, with intervals from resampled groups."""
    mass, predicted, observed = _by_bin(p, defect, weights)
    with np.errstate(invalid="ignore"):
        share = observed / mass
    low, high = np.nanpercentile(share[1:], [2.5, 97.5], axis=0)
    return Curve(predicted[0] / mass[0], share[0], low, high)


def _by_bin(p: Numbers, defect: Flags, weights: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Sums `[R, B]` of weight, of probability and of defects in each bin."""
    bins = equal_mass_bins(p)
    member = np.eye(bins.max() + 1)[bins]
    return weights @ member, weights @ (member * p[:, None]), weights @ (member * defect[:, None])
