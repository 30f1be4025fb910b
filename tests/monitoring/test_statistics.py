"""Alarms are rare without drift, also when images of one part repeat, and come with drift."""

import numpy as np
import pytest
from scipy.stats import binom

from ml.monitoring.statistics import (
    by_part,
    distribution_test,
    embedding_test,
    holm,
    share_test,
)

ALPHA = 0.05


def _night(random, parts=60, shift=0.0):
    """Three exposures of each part that hardly differ, as two columns."""
    names = [str(part) for part in range(parts) for _ in range(3)]
    values = np.repeat(random.normal(shift, 1, (parts, 2)), 3, axis=0)
    return by_part(names, values + random.normal(0, 0.01, values.shape))


def _alarms(reference, current):
    tests = [distribution_test(str(n), reference[:, n], current[:, n]) for n in range(2)]
    return any(holm([test.p_value for test in tests], ALPHA))


def test_nights_without_drift_alarm_no_more_often_than_alpha():
    random = np.random.default_rng(1)
    nights = 300
    alarms = sum(_alarms(_night(random), _night(random)) for _ in range(nights))
    assert alarms <= binom.ppf(0.999, nights, ALPHA)


def test_without_averaging_over_parts_the_same_nights_cry_wolf():
    random = np.random.default_rng(1)
    alarms = 0
    for _ in range(100):
        first, second = (np.repeat(random.normal(0, 1, 40), 6) for _ in range(2))
        alarms += distribution_test("x", first, second).p_value < ALPHA
    assert alarms > binom.ppf(0.999, 100, ALPHA)


def test_a_shift_of_one_deviation_is_found():
    random = np.random.default_rng(2)
    assert _alarms(_night(random), _night(random, shift=1.0))


def test_embedding_drift_is_found_and_its_p_value_is_fair_without():
    random = np.random.default_rng(3)
    reference = random.normal(0, 1, (50, 8))
    assert embedding_test("e", reference, random.normal(1.0, 1, (40, 8))).p_value <= 0.002
    fair = [
        embedding_test("e", random.normal(0, 1, (30, 4)), random.normal(0, 1, (30, 4))).p_value
        for _ in range(20)
    ]
    assert sum(value < ALPHA for value in fair) <= binom.ppf(0.999, 20, ALPHA)


def test_equal_inputs_give_equal_p_values():
    rows = np.random.default_rng(4).normal(0, 1, (40, 4))
    assert embedding_test("e", rows[:20], rows[20:]) == embedding_test("e", rows[:20], rows[20:])


def test_a_jump_of_the_share_not_passed_is_found():
    assert share_test("held", 0.3, 29, 30).p_value < 1e-6
    assert share_test("held", 0.3, 9, 30).p_value > 0.5


def test_holm_gives_the_smallest_the_strictest_level():
    assert holm([0.001, 0.04, 0.5], 0.05) == pytest.approx([0.05 / 3, 0.0, 0.0])
    assert holm([0.001, 0.02, 0.03], 0.05) == pytest.approx([0.05 / 3, 0.025, 0.05])


def test_means_are_taken_over_each_part():
    assert by_part(["b", "a", "b"], np.array([1.0, 5.0, 3.0])).tolist() == [5.0, 2.0]
