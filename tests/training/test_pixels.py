"""Batches are balanced, masks follow their images, small defects survive, learning has a goal."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.data.dataset import load_dataset
from ml.settings import Home
from ml.training import pixels
from ml.training.losses import segmentation_loss
from tests.training.conftest import SIDE, MakeDataset


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), height=st.integers(24, 60), width=st.integers(24, 60))
def test_masks_move_with_their_images(seed: int, height: int, width: int) -> None:
    random = np.random.default_rng(seed)
    masks = np.zeros((3, height, width), np.uint8)
    for mask in masks:
        row, column = random.integers(6, min(height, width) - 10, 2)
        mask[row : row + 4, column : column + 4] = 1
    images = np.repeat(masks[..., None] * np.uint8(200), 3, axis=3) + np.uint8(20)
    light, moved = pixels.augment(images, masks, random, mirror=True)
    assert light.shape == (3, 3, height, width)
    assert moved is not None
    inside = light.mean(dim=1, keepdim=True)
    assert moved.sum() == masks.sum()
    assert inside[moved > 0].min() > inside[moved == 0].max()


def test_images_of_one_batch_change_differently() -> None:
    images = np.tile(np.arange(48, dtype=np.uint8)[None, :, None, None] * 4, (8, 1, 48, 3))
    light, _ = pixels.augment(images, None, np.random.default_rng(1), mirror=True)
    falls = (light[:, :, :10].mean(dim=(1, 2, 3)) > light[:, :, -10:].mean(dim=(1, 2, 3))).tolist()
    assert 0 < sum(falls) < 8


def test_images_beyond_memory_lie_in_a_file_with_the_same_pixels(
    home: Home, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = load_dataset(home, "tiny", make_dataset()).split("train")
    size = (SIDE, SIDE)
    held = pixels.load_pixels(home, samples, size, masks=True, threads=2)
    monkeypatch.setattr(pixels, "_IN_MEMORY_BYTES", 10)
    filed = pixels.load_pixels(home, samples, size, masks=True, threads=2)
    assert isinstance(filed.images, np.memmap)
    assert np.array_equal(held.images, filed.images)
    assert held.masks is not None
    assert held.masks.any(axis=(1, 2)).tolist() == [sample.is_defect for sample in samples]
    assert np.array_equal(held.masks, filed.masks)  # type: ignore[arg-type]


def test_segmentation_loss_prefers_the_true_mask() -> None:
    masks = torch.zeros(4, 1, 32, 32)
    masks[:2, :, 4:8, 4:8] = 1
    right, nothing, everything = (
        segmentation_loss(logits, masks)[:2].mean()
        for logits in (masks * 20 - 10, torch.full_like(masks, -10), torch.full_like(masks, 10))
    )
    assert right < 0.01
    assert right < nothing < everything


@settings(max_examples=30, deadline=None)
@given(side=st.integers(1, 12))
def test_a_missed_defect_costs_about_the_same_however_small_it_is(side: int) -> None:
    masks = torch.zeros(1, 1, 64, 64)
    masks[..., :side, :side] = 1
    missed = segmentation_loss(torch.full_like(masks, -12), masks) - segmentation_loss(
        masks * 24 - 12, masks
    )
    assert 0.4 < float(missed) < 2


def test_seeing_nothing_on_good_images_costs_almost_nothing_and_a_false_region_more() -> None:
    good = torch.zeros(1, 1, 32, 32)
    quiet = good - 12
    loud = quiet.clone()
    loud[..., 5:9, 5:9] = 6
    assert float(segmentation_loss(quiet, good)) < 0.01
    assert float(segmentation_loss(loud, good)) > 0.05
