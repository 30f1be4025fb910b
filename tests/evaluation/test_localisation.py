"""Metrics of maps: against exact definitions on small sets, and where they must be extreme."""

import tracemalloc
from typing import Any

import cv2
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ml.evaluation.overlap import MaskOverlap
from ml.evaluation.pixels import points_at
from ml.evaluation.ranking import PixelRanking

Array = np.ndarray[Any, Any]

SHAPES = {
    "noisy": lambda heat: heat,
    "smooth": lambda heat: cv2.GaussianBlur(heat, (0, 0), 2),
    "saturated": lambda heat: 1 / (1 + np.exp(-8 * heat)),
    "tied": lambda heat: np.round(heat, 1),
}


def _maps(seed: int, shape: str, count: int = 6, side: int = 40) -> tuple[list[Array], list[Array]]:
    """Noise of another level in each image; every second has up to three hot rectangles."""
    random = np.random.default_rng(seed)
    maps, masks = [], []
    for number in range(count):
        mask = np.zeros((side, side), bool)
        for _ in range(int(random.integers(1, 4)) * (number % 2)):
            (y, x), (height, width) = random.integers(0, side, 2), random.integers(1, side // 3, 2)
            mask[y : y + height, x : x + width] = True
        heat = random.normal(random.normal(0, 0.5), 1, (side, side)) + mask * random.uniform(0, 3)
        maps.append(SHAPES[shape](heat.astype(np.float32)))
        masks.append(mask)
    return maps, masks


def _measured(maps: list[Array], masks: list[Array], weights: Array | None = None) -> Any:
    ranking = PixelRanking()
    for heat, mask in zip(maps, masks, strict=True):
        ranking.add(heat, mask)
    return ranking.measure(np.ones((1, len(maps))) if weights is None else weights)


def _exact_aupro(maps: list[Array], masks: list[Array], limit: float = 0.3) -> float:
    """The definition: every score is a threshold, every region has its own overlap."""
    good = np.concatenate([heat[~mask] for heat, mask in zip(maps, masks, strict=True)])
    regions = []
    for heat, mask in zip(maps, masks, strict=True):
        count, labels = cv2.connectedComponents(mask.astype(np.uint8))
        regions += [heat[labels == label] for label in range(1, count)]
    false, overlap = [0.0], [0.0]
    for threshold in np.unique(np.concatenate([heat.ravel() for heat in maps]))[::-1]:
        false.append(float((good >= threshold).mean()))
        overlap.append(float(np.mean([(region >= threshold).mean() for region in regions])))
    inside = [rate for rate in false if rate <= limit]
    edge = float(np.interp(limit, false, overlap))
    return float(np.trapezoid([*overlap[: len(inside)], edge], [*inside, limit])) / limit


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_aupro_and_pixel_auroc_equal_their_definitions(seed: int, shape: str) -> None:
    maps, masks = _maps(seed, shape)
    found = _measured(maps, masks)
    assert found["aupro"][0] == pytest.approx(_exact_aupro(maps, masks), abs=1e-3)
    truth, scores = np.concatenate([*masks], axis=None), np.concatenate([*maps], axis=None)
    assert found["pixel_auroc"][0] == pytest.approx(roc_auc_score(truth, scores), abs=1e-3)


def test_a_weight_counts_an_image_so_many_times() -> None:
    maps, masks = _maps(5, "noisy")
    weights = np.array([[1, 0, 2, 3, 0, 1]])
    again = [
        [rows[index] for index, times in enumerate(weights[0]) for _ in range(times)]
        for rows in (maps, masks)
    ]
    found = _measured(maps, masks, weights.astype(float))
    assert found["aupro"][0] == pytest.approx(_exact_aupro(*again), abs=1e-3)


def test_a_perfect_map_has_one_and_a_flat_map_the_diagonal() -> None:
    _, masks = _maps(1, "noisy")
    perfect = _measured([mask.astype(np.float32) for mask in masks], masks)
    assert perfect["aupro"][0] == pytest.approx(1)
    assert perfect["pixel_auroc"][0] == pytest.approx(1)
    flat = _measured([np.zeros(mask.shape, np.float32) for mask in masks], masks)
    assert flat["aupro"][0] == pytest.approx(0.15)
    assert flat["pixel_auroc"][0] == pytest.approx(0.5)


def test_a_rising_function_of_the_scores_changes_nothing() -> None:
    maps, masks = _maps(2, "noisy")
    raised = [np.exp(heat) * 7 for heat in maps]
    assert _measured(raised, masks)["aupro"] == pytest.approx(
        _measured(maps, masks)["aupro"], abs=1e-3
    )


def test_a_small_region_counts_as_much_as_a_large_one() -> None:
    mask = np.zeros((64, 64), bool)
    mask[2:42, 2:42] = mask[60, 60] = True
    only_large = mask.astype(np.float32)
    only_large[60, 60] = 0
    found = _measured([only_large], [mask])
    # The small region's overlap rises along the diagonal: 0.15 of what it could be.
    assert found["aupro"][0] == pytest.approx((1 + 0.15) / 2, abs=1e-3)
    assert found["pixel_auroc"][0] > 0.999


def test_without_a_region_aupro_is_unknown() -> None:
    maps, masks = _maps(1, "noisy")
    found = _measured(maps, [np.zeros_like(mask) for mask in masks])
    assert np.isnan(found["aupro"][0])
    assert np.isnan(found["pixel_auroc"][0])


def test_what_is_kept_of_an_image_does_not_grow_with_its_pixels() -> None:
    kept = {}
    for side in (64, 512):
        maps, masks = _maps(1, "noisy", count=20, side=side)
        ranking = PixelRanking()
        tracemalloc.start()
        for heat, mask in zip(maps, masks, strict=True):
            ranking.add(heat, mask)
        kept[side] = tracemalloc.get_traced_memory()[0] / 20
        tracemalloc.stop()
    assert kept[512] < 8_000
    assert kept[512] < 1.5 * kept[64]


def _overlap() -> MaskOverlap:
    """Four images of eight pixels: half found, missed, all found, and a false pixel."""
    found = MaskOverlap()
    empty, half, left = np.zeros((2, 8), bool), np.zeros((2, 8), bool), np.zeros((2, 8), bool)
    left[0], half[0, :4] = True, True
    false = empty.copy()
    false[1, 7] = True
    for mask, truth in ((half, left), (empty, left), (left, left), (false, empty)):
        found.add(mask, truth)
    return found


WITH_MASK = np.array([True, True, True, False])


def test_overlap_per_image_and_pooled() -> None:
    found, weights = _overlap(), np.array([[1.0, 1, 1, 1], [0, 2, 1, 1]])
    single = found.per_image(WITH_MASK, weights)
    assert single["dice"] == pytest.approx([(8 / 12 + 0 + 1) / 3, 1 / 3])
    assert single["iou"] == pytest.approx([(0.5 + 0 + 1) / 3, 1 / 3])
    pooled = found.pooled(np.ones(4, bool), weights)
    assert pooled["dice_pooled"] == pytest.approx([2 * 12 / (13 + 24), 2 * 8 / (9 + 24)])
    assert pooled["iou_pooled"] == pytest.approx([12 / 25, 8 / 25])


def test_every_defect_type_counts_the_same_in_the_macro_mean() -> None:
    found, types = _overlap(), ["crack", "crack", "pit", ""]
    weights = np.array([[1.0, 1, 1, 1], [0, 1, 0, 1]])
    # The second resample has no pit.
    assert found.macro(types, WITH_MASK, weights) == pytest.approx([(1 / 3 + 1) / 2, 0])
    assert np.isnan(found.macro(types, WITH_MASK, np.zeros((1, 4)))[0])


def test_missed_defects_and_false_regions() -> None:
    found = _overlap()
    assert (~found.touched & WITH_MASK).tolist() == [False, True, False, False]
    assert found.marked.tolist() == [True, False, True, True]


def test_the_hottest_pixel_must_lie_in_the_mask_or_close_to_it() -> None:
    mask = np.zeros((100, 100), bool)
    mask[40:60, 40:60] = True
    for x, hit in ((50, True), (62, True), (64, False), (90, False)):
        heat = np.zeros((100, 100), np.float32)
        heat[50, x] = 1
        assert points_at(heat, mask) is hit
    assert not points_at(np.ones((100, 100), np.float32), mask)
    assert not points_at(heat, np.zeros_like(mask))


def test_of_equally_hot_pixels_the_middle_one_points() -> None:
    mask = np.zeros((96, 96), bool)
    mask[44:52, 76:84] = True
    heat = np.zeros((6, 6), np.float32)
    # Each cell is 16 pixels: the four of them are rows 32 to 64, columns 64 to 96.
    heat[2:4, 4:6] = 1
    assert points_at(heat, mask)
    heat[2:4, 4:6] = 0
    heat[0, 0] = 1
    assert not points_at(heat, mask)
