"""Synthetic anomalies: a small piece of the image is wrong, and the same seed makes the same."""

import numpy as np
import tiny_line
from tiny_line import Tiny

from ml.data.dataset import load_dataset
from ml.evaluation.scores import ValidationScores, score
from ml.evaluation.synthetic import damaged, synthetic_scores
from ml.inference.engine import open_models


def test_a_damaged_image_is_wrong_in_a_small_place_only() -> None:
    for seed in range(30):
        image = np.random.default_rng(seed).integers(60, 190, (40, 64, 3), dtype=np.uint8)
        found = damaged(image, np.random.default_rng([1, seed]))
        assert (found.shape, found.dtype) == (image.shape, image.dtype)
        changed = (found != image).any(axis=2)
        assert 0 < changed.mean() < 0.12
        rows, columns = np.nonzero(changed)
        assert (np.ptp(rows), np.ptp(columns)) < (40, 64)
        assert np.array_equal(found, damaged(image, np.random.default_rng([1, seed])))
        assert not np.array_equal(found, damaged(image, np.random.default_rng([2, seed])))


def test_good_validation_images_are_scored_damaged_and_the_same_again(tiny: Tiny) -> None:
    models = open_models(tiny.evaluate(), 1)
    held_out = load_dataset(tiny.home, "tiny", tiny_line.DATASET).split("validation")
    good = tuple(sample for sample in held_out if not sample.is_defect)
    whole = score(ValidationScores, tiny.home, models, good, 1)
    first = synthetic_scores(tiny.home, models, whole, 3, 1)
    assert set(first) == set(whole.raw)
    assert np.array_equal(
        first["anomaly"], synthetic_scores(tiny.home, models, whole, 3, 2)["anomaly"]
    )
    assert first["anomaly"].mean() > whole.raw["anomaly"].mean()


def test_there_are_none_beside_real_defects(tiny: Tiny) -> None:
    models = open_models(tiny.evaluate(), 1)
    held_out = load_dataset(tiny.home, "tiny", tiny_line.DATASET).split("validation")
    real = score(ValidationScores, tiny.home, models, held_out, 1)
    assert synthetic_scores(tiny.home, models, real, 3, 1) == {}
