"""Metrics against scikit-learn, and intervals against what they promise."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm
from sklearn.metrics import average_precision_score, fbeta_score, roc_auc_score

from ml.evaluation import metrics
from ml.evaluation.intervals import (
    auroc_interval,
    auroc_metric,
    bootstrap_weights,
    exact_interval,
    rate_metric,
    to_metric,
)


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    defect = random.random(300) < 0.3
    # Rounded, so that there are ties within and across the kinds.
    scores = np.round(random.normal(0, 1, 300) + defect, 1)
    return scores, defect, random.integers(0, 4, (5, 300)).astype(float)


def test_weighted_rank_metrics_equal_scikit_learn(data: tuple[np.ndarray, ...]) -> None:
    scores, defect, weights = data
    roc = [roc_auc_score(defect, scores, sample_weight=row) for row in weights]
    ap = [average_precision_score(defect, scores, sample_weight=row) for row in weights]
    assert metrics.auroc(scores, defect, weights) == pytest.approx(roc)
    assert metrics.average_precision(scores, defect, weights) == pytest.approx(ap)


def test_weighted_f2_equals_scikit_learn(data: tuple[np.ndarray, ...]) -> None:
    scores, defect, weights = data
    found = scores > 0.5
    expected = [fbeta_score(defect, found, beta=2, sample_weight=row) for row in weights]
    assert metrics.f_beta(found, defect, weights, 2) == pytest.approx(expected)


def test_one_kind_only_is_unknown_not_zero() -> None:
    weights = np.ones((2, 4))
    found = metrics.auroc(np.arange(4.0), np.zeros(4, bool), weights)
    assert to_metric(found, 4, enough=False).value is None


def test_resampling_keeps_groups_together() -> None:
    groups = ["a", "b", "a", "c", "b"]
    weights = bootstrap_weights(groups, seed=1, resamples=50)
    assert (weights[0] == 1).all()
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 1] == weights[:, 4]).all()
    drawn = weights[1:, 0] + weights[1:, 1] + weights[1:, 3]
    assert (drawn == 3).all()


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    random = np.random.default_rng(4)
    groups = [str(number // 2) for number in range(160)]
    covered = 0
    for trial in range(100):
        # Two exposures of a part fail together: counted singly, intervals would be too narrow.
        event = np.repeat(random.random(80) < 0.3, 2)
        weights = bootstrap_weights(groups, seed=trial, resamples=400)
        values = metrics.rate(event, np.ones(160, bool), weights)
        metric = to_metric(values, 80, enough=True)
        assert metric.low is not None
        assert metric.high is not None
        covered += metric.low <= 0.3 <= metric.high
    assert covered >= 88


def test_no_error_seen_still_has_an_upper_bound() -> None:
    metric = rate_metric(np.zeros(101), 10, enough=True)
    assert metric.low == 0
    assert metric.high == pytest.approx(0.3085)


@pytest.mark.parametrize(("bad", "good", "apart"), [(5, 20, 3.0), (10, 30, 3.0), (10, 30, 1.0)])
def test_intervals_of_auroc_cover_it_as_often_as_they_say(
    bad: int, good: int, apart: float
) -> None:
    random = np.random.default_rng(0)
    defect = np.arange(bad + good) < bad
    weights = bootstrap_weights([str(one) for one in range(bad + good)], 1, 200)
    truth, missed, rounds = norm.cdf(apart / np.sqrt(2)), 0, 150
    for _ in range(rounds):
        scores = random.normal(size=len(defect)) + apart * defect
        values = metrics.auroc(scores, defect, weights)
        metric = auroc_metric(values, len(defect), bad, good, enough=True)
        assert metric.low is not None
        assert metric.high is not None
        missed += not metric.low <= truth <= metric.high
    assert missed <= binom.ppf(0.99, rounds, 0.05)


@settings(max_examples=50, deadline=None)
@given(auroc=st.floats(0, 1), bad=st.integers(1, 3000), good=st.integers(1, 3000))
def test_the_interval_of_an_auroc_holds_it_and_has_a_width(
    auroc: float, bad: int, good: int
) -> None:
    low, high = auroc_interval(auroc, bad, good)
    assert 0 <= low <= auroc <= high <= 1
    assert low < high
    # Which kind is called a defect changes nothing.
    assert auroc_interval(1 - auroc, good, bad) == pytest.approx((1 - high, 1 - low), abs=1e-6)


def test_too_few_groups_have_no_interval() -> None:
    metric = rate_metric(np.zeros(101), 3, enough=False)
    assert (metric.value, metric.low, metric.high, metric.n) == (0.0, None, None, 3)


@pytest.mark.parametrize(("groups", "rate"), [(100, 0.02), (50, 0.04), (40, 0.08)])
def test_intervals_of_rare_events_cover_them_as_often_as_they_say(groups: int, rate: float) -> None:
    random = np.random.default_rng(5)
    weights = bootstrap_weights([str(number) for number in range(groups)], 0, 300)
    missed = 0
    for _ in range(400):
        event = random.random(groups) < rate
        metric = rate_metric(metrics.rate(event, event | True, weights), groups, enough=True)
        assert metric.low is not None
        assert metric.high is not None
        missed += not metric.low <= rate <= metric.high
    assert missed <= 28, "5 % of 400, and 2 standard deviations"


@given(st.integers(5, 200), st.integers(0, 4), st.integers(0, 1000))
def test_one_more_event_never_lowers_either_end(groups: int, events: int, seed: int) -> None:
    weights = bootstrap_weights([str(number) for number in range(groups)], seed, 100)
    ends = []
    for count in (events, events + 1):
        event = np.arange(groups) < count
        metric = rate_metric(metrics.rate(event, event | True, weights), groups, enough=True)
        ends.append((metric.low, metric.high))
    assert ends[0][0] <= ends[1][0]
    assert ends[0][1] < ends[1][1] or ends[0][1] == 1.0


@given(st.integers(5, 300), st.integers(0, 300))
def test_the_exact_interval_of_whole_groups_is_that_of_scipy(groups: int, events: int) -> None:
    from scipy.stats import binomtest

    assume(events <= groups)
    peer = binomtest(events, groups).proportion_ci(0.95, method="exact")
    assert exact_interval(events, groups) == pytest.approx((peer.low, peer.high))
