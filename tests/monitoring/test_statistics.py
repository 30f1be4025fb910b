"""Each test alone: fair without drift, able to reject with it, also at the smallest levels."""

import numpy as np
import pytest
from scipy.stats import binom

from ml.monitoring.compare import TESTS
from ml.monitoring.statistics import (
    by_group,
    can_reject,
    distribution_test,
    embedding_test,
    holm,
    share_test,
)

ALPHA = 0.05


def test_embedding_drift_is_found_and_its_p_value_is_fair_without():
    random = np.random.default_rng(3)
    reference = random.normal(0, 1, (50, 8))
    shifted = random.normal(1.0, 1, (40, 8))
    assert embedding_test("e", reference, shifted, 999).p_value == 0.001
    fair = [
        embedding_test("e", *random.normal(0, 1, (2, 30, 4)), permutations=199).p_value
        for _ in range(100)
    ]
    assert sum(value <= ALPHA for value in fair) <= binom.ppf(0.999, 100, ALPHA)


def test_embeddings_with_features_that_few_images_have_are_fair_too():
    # Scaled by the reference alone, a feature that it lacks would be a drift of every night.
    random = np.random.default_rng(5)
    nights = 100
    alarms = 0
    for _ in range(nights):
        first, second = (random.random((rows, 64)) < 0.02 for rows in (30, 60))
        found = embedding_test("e", first.astype(float), second.astype(float), permutations=199)
        alarms += found.p_value <= ALPHA
    assert alarms <= binom.ppf(0.999, nights, ALPHA)


def test_equal_embeddings_are_no_drift():
    assert embedding_test("e", np.ones((20, 4)), np.ones((30, 4)), 99).p_value == 1.0


def test_equal_inputs_give_equal_p_values():
    rows = np.random.default_rng(4).normal(0, 1, (40, 4))
    assert embedding_test("e", rows[:20], rows[20:], 99) == embedding_test(
        "e", rows[:20], rows[20:], 99
    )


def _flags(hits, count):
    return np.arange(count) < hits


@pytest.mark.parametrize(("reference", "current"), [(60, 60), (30, 100), (200, 100)])
def test_shares_without_drift_are_rejected_no_more_often_than_their_level(reference, current):
    random = np.random.default_rng(6)
    nights, level = 1000, 0.01 / TESTS
    alarms = sum(
        share_test("held", random.random(reference) < 0.2, random.random(current) < 0.2).p_value
        <= level
        for _ in range(nights)
    )
    assert alarms <= binom.ppf(0.999, nights, level)


def test_a_jump_of_the_share_not_passed_is_found():
    assert share_test("held", _flags(30, 100), _flags(29, 30)).p_value < 1e-6
    assert share_test("held", _flags(30, 100), _flags(9, 30)).p_value == 1.0
    assert share_test("held", _flags(0, 100), _flags(6, 30)).effect > 1


def test_too_few_groups_for_any_rejection_are_known_before():
    level = 0.01 / TESTS
    reference, current = np.arange(5.0), np.arange(5.0) + 100
    assert not can_reject(5, 5, level)
    assert distribution_test("x", reference, current).p_value > level
    assert can_reject(7, 7, level)
    assert distribution_test("x", np.arange(7.0), np.arange(7.0) + 100).p_value <= level
    assert not can_reject(0, 30, level)


def test_holm_gives_the_smallest_the_strictest_level():
    assert holm([0.001, 0.04, 0.5], 0.05) == pytest.approx([0.05 / 3, 0.0, 0.0])
    assert holm([0.001, 0.02, 0.03], 0.05) == pytest.approx([0.05 / 3, 0.025, 0.05])


def test_means_are_taken_over_each_group():
    assert by_group(["b", "a", "b"], np.array([1.0, 5.0, 3.0])).tolist() == [5.0, 2.0]


@pytest.mark.parametrize(("width", "height"), [(640, 480), (1920, 1080), (500, 1240)])
def test_what_never_varies_is_the_same_in_groups_of_any_size(width, height):
    sizes = [*range(1, 30), 100]
    groups = [str(size) for size in sizes for _ in range(size)]
    means = by_group(groups, np.full(len(groups), width / height))
    assert len(means) == len(sizes)
    # In the order of names they are of many sizes on either side.
    assert distribution_test("aspect", means[:15], means[15:]).p_value == 1
    assert len(set(means.tolist())) == 1
