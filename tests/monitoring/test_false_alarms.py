"""The whole night, all its tests together: quiet without drift, not deaf to it."""

from functools import partial

import numpy as np
import pytest
from drift_false_alarms import deal_generated, image_by_image, night_drifts, rate
from scipy.stats import binom

from ml.data.measure import MEASURES
from ml.monitoring.compare import TESTS, both_sides, compare

ALPHA = 0.05
NIGHTS = 100


@pytest.mark.parametrize(("images", "beside"), [(1, 1), (3, 3), (1, 5), (5, 1), (range(1, 6), 5)])
def test_nights_without_drift_alarm_no_more_often_than_alpha(images, beside):
    sizes = {"images": images, "beside": beside, "within": 0.1 if images == beside else 1.0}
    deal = partial(deal_generated, groups=30, reference=40, **sizes)
    assert rate(deal, ALPHA, NIGHTS).alarms <= binom.ppf(0.999, NIGHTS, ALPHA)


@pytest.mark.parametrize(("images", "beside"), [(20, 6), (6, 20)])
def test_two_cameras_are_no_drift_where_nights_have_more_or_fewer_images(images, beside):
    sizes = {"images": images, "beside": beside, "apart": 10.0}
    deal = partial(deal_generated, groups=30, reference=40, **sizes)
    assert rate(deal, ALPHA, 30).alarms <= binom.ppf(0.999, 30, ALPHA)


def test_beside_a_reference_that_names_no_cameras_all_images_count():
    reference, night = deal_generated(np.random.default_rng(1), 30, 6, beside=3, apart=10.0)
    unnamed = [{name: row[name] for name in row if name != "camera"} for row in reference]
    whole, thinned = both_sides(unnamed, night, 0.1), both_sides(reference, night, 0.1)
    mean = np.mean([row["brightness"] for row in night if row["group"] == "0"])
    np.testing.assert_allclose(whole[1]["brightness"][0], mean, rtol=1e-6)
    assert (whole[1]["brightness"] != thinned[1]["brightness"]).any()


def test_counted_image_by_image_the_same_nights_cry_wolf():
    deal = image_by_image(partial(deal_generated, groups=30, images=3, reference=40))
    assert rate(deal, ALPHA, 30).alarms > binom.ppf(0.999, 30, ALPHA)


def _night(**shift):
    """A reference and a night, the night's columns moved by `shift`."""
    reference, current = deal_generated(np.random.default_rng(1), 30, 2)
    return reference, [row | {k: row[k] + by for k, by in shift.items()} for row in current]


@pytest.mark.parametrize("alpha", [0.001, 0.05])
def test_drift_of_the_embeddings_alone_is_found_at_every_alpha_allowed(alpha):
    reference, current = both_sides(*_night(embedding=2.0), 0.1)
    tests = compare(reference, current, alpha)
    assert tests["embedding"][0].p_value <= alpha / TESTS


@pytest.mark.parametrize("measure", MEASURES)
def test_drift_of_one_measure_is_found(measure):
    assert night_drifts(_night(**{measure: 3.0}), 0.01)
