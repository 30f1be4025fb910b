"""Weak masks lie on what good images do not show, teach a segmenter, and are no truth."""

import numpy as np
import pytest

from ml.data.dataset import load_dataset
from ml.errors import TrainingError
from ml.settings import Env, Home, LineConfig
from ml.settings.models import SegmenterConfig
from ml.training.pixels import Pixels, load_pixels
from ml.training.train import train
from ml.training.weak import fit_labeller, with_weak_masks
from tests.training.conftest import SIDE, MakeDataset


def weak(line: LineConfig) -> LineConfig:
    """The line with weak labels."""
    changes = {"weak_labels": True}
    return line.model_copy(update={"segmenter": line.segmenter.model_copy(update=changes)})


def unmasked(home: Home, name: str) -> Pixels:
    """The training images of a dataset without masks."""
    samples = load_dataset(home, "tiny", name).split("train")
    return load_pixels(home, samples, (SIDE, SIDE), masks=True, threads=1)


def test_a_weak_mask_covers_the_defect_and_little_else(
    home: Home, make_dataset: MakeDataset
) -> None:
    drawn = unmasked(home, make_dataset("masked"))
    pixels = unmasked(home, make_dataset("bare", masks=False))
    labelled = with_weak_masks(pixels, fit_labeller(pixels))
    assert labelled.masks is not None
    assert drawn.masks is not None
    assert len(labelled.samples) == len(pixels.samples)
    for sample, found, truth in zip(labelled.samples, labelled.masks, drawn.masks, strict=True):
        overlap = 2 * (found & truth).sum() / max(found.sum() + truth.sum(), 1)
        assert overlap > 0.6 if sample.is_defect else not found.any()


def test_drawn_masks_stay_and_defects_that_do_not_stand_out_are_left_out(
    home: Home, make_dataset: MakeDataset
) -> None:
    pixels = unmasked(home, make_dataset())
    kept = with_weak_masks(pixels, fit_labeller(pixels))
    assert np.array_equal(kept.masks, pixels.masks)  # type: ignore[arg-type]
    bare = unmasked(home, make_dataset("bare", masks=False))
    flat = Pixels(bare.samples, np.full_like(bare.images, 100), bare.masks)
    left = with_weak_masks(flat, fit_labeller(bare))
    assert not any(sample.is_defect for sample in left.samples)


def test_a_segmenter_learns_from_weak_masks_and_says_so_and_measures_none(
    env: Env, home: Home, line: LineConfig, make_dataset: MakeDataset
) -> None:
    result = train(env, home, weak(line), make_dataset(masks=False), "segmenter").run.result
    assert "weak masks" in result["warnings"][-1]
    assert result["facts"]["unmasked_defects"] == 6
    assert result["metrics"]["dice"] is None
    # The labels of whole images are true: by them int8 is judged.
    assert result["metrics"]["auroc"] is not None
    stored = load_dataset(home, "tiny", "d1").samples
    assert not any(sample.mask for sample in stored)
    with pytest.raises(TrainingError, match="with a mask"):
        train(env, home, line, "d1", "segmenter")


def test_weak_labels_and_tiles_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="leave `tile` out"):
        SegmenterConfig(weak_labels=True, tile=(64, 64))
