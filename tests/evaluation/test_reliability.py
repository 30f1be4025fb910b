"""Calibration error: near zero where probabilities are right, and not where they are shifted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ml.evaluation.intervals import bootstrap_weights
from ml.evaluation.reliability import calibration_error, equal_mass_bins, reliability_curve

PROBABILITIES = arrays.arrays(float, st.integers(1, 200), elements=st.floats(0, 1).map(float))


def _images(
    random: np.random.Generator, groups: int, shift: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities, truth whose log-odds are `shift` higher, and weights; two images a group."""
    log_odds = np.repeat(random.normal(-1, 1.5, groups), 2) + random.normal(0, 0.5, 2 * groups)
    p = 1 / (1 + np.exp(-log_odds))
    defect = random.random(2 * groups) < 1 / (1 + np.exp(-log_odds - shift))
    names = [str(number // 2) for number in range(2 * groups)]
    return p, defect, bootstrap_weights(names, seed=1, resamples=200)


def test_right_probabilities_have_an_error_near_zero() -> None:
    found = calibration_error(*_images(np.random.default_rng(1), 10_000), n=10_000, enough=True)
    assert found.value == pytest.approx(0, abs=0.015)
    assert found.low == 0


@pytest.mark.parametrize("shift", [1.5, -1.5])
def test_shifted_probabilities_do_not(shift: float) -> None:
    p, defect, weights = _images(np.random.default_rng(2), 500, shift)
    found = calibration_error(p, defect, weights, n=500, enough=True)
    truth = np.abs(p - 1 / (1 + np.exp(-np.log(p / (1 - p)) - shift))).mean()
    assert found.low is not None
    assert found.high is not None
    assert 0.05 < found.low < truth < found.high


def test_intervals_cover_no_error_though_few_images_always_show_some() -> None:
    covered, shown = 0, []
    for trial in range(100):
        found = calibration_error(*_images(np.random.default_rng(trial), 40), n=40, enough=True)
        assert found.low is not None
        covered += found.low == 0
        shown.append(found.value)
    assert min(shown) > 0.02
    assert covered >= 88


def test_the_error_is_the_mean_distance_over_the_bins() -> None:
    p = np.repeat([0.1, 0.8], 20)
    defect = np.r_[np.ones(6, bool), np.zeros(14, bool), np.ones(10, bool), np.zeros(10, bool)]
    weights = bootstrap_weights([str(number) for number in range(40)], seed=1, resamples=100)
    found = calibration_error(p, defect, weights, n=40, enough=True)
    assert found.value == pytest.approx((0.2 + 0.3) / 2)
    curve = reliability_curve(p, defect, weights)
    assert curve.predicted == pytest.approx([0.1, 0.8])
    assert curve.observed == pytest.approx([0.3, 0.5])
    assert (curve.low < curve.observed).all()
    assert (curve.observed < curve.high).all()


def test_unknown_with_one_kind_and_no_interval_with_few_groups() -> None:
    p, defect, weights = _images(np.random.default_rng(3), 20)
    none = calibration_error(p, np.zeros_like(defect), weights, n=20, enough=True)
    assert (none.value, none.low, none.high, none.n) == (None, None, None, 20)
    few = calibration_error(p, defect, weights, n=3, enough=False)
    assert few.value is not None
    assert (few.low, few.high) == (None, None)


@given(PROBABILITIES)
def test_equal_probabilities_share_a_bin_and_bins_rise(p: np.ndarray) -> None:
    bins = equal_mass_bins(p)
    order = np.argsort(p, kind="stable")
    steps, ties = np.diff(bins[order]), np.diff(p[order]) == 0
    assert set(bins) == set(range(bins.max() + 1))
    assert bins.max() < 10
    assert ((steps == 0) | (steps == 1)).all()
    assert (steps[ties] == 0).all()


@given(PROBABILITIES.map(np.unique))
def test_bins_of_distinct_probabilities_hold_about_as_many(p: np.ndarray) -> None:
    sizes = np.bincount(equal_mass_bins(p))
    assert sizes.max() - sizes.min() <= 1
    assert len(sizes) == max(1, min(10, len(p) // 10))
