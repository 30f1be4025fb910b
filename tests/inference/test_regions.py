"""Regions say where a defect lies, and how large it is, in the image as it came."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.inference.regions import MOST, MOST_CORNERS, Region, find_regions


def drawn(*boxes: tuple[int, int, int, int], side: int = 40) -> np.ndarray:
    """A map of probability 0.9 in boxes of left, top, width, height."""
    found = np.zeros((side, side), np.float32)
    for left, top, width, height in boxes:
        found[top : top + height, left : left + width] = 0.9
    return found


def regions(found: np.ndarray, size: tuple[int, int], **scale: float) -> tuple[Region, ...]:
    """The regions of the pixels above one half."""
    return find_regions(found > 0.5, found, size, **scale)


@settings(max_examples=60, deadline=None)
@given(
    box=st.tuples(*[st.integers(0, 20)] * 2, *[st.integers(1, 20)] * 2),
    grown=st.integers(1, 4),
)
def test_a_rectangle_is_found_where_it_is_at_any_scale(
    box: tuple[int, int, int, int], grown: int
) -> None:
    (region,) = regions(drawn(box), (40 * grown, 40 * grown))
    assert region.box == tuple(grown * side for side in box)
    assert region.area == box[2] * box[3] * grown**2
    assert region.p_defect == pytest.approx(0.9)
    left, top, width, height = region.box
    assert set(region.polygon) == {
        (left, top), (left + width, top), (left, top + height), (left + width, top + height)
    }  # fmt: skip


def test_millimetres_follow_the_scale_of_the_line() -> None:
    defect = drawn((4, 10, 20, 5))
    (region,) = regions(defect, (80, 80), mm_per_pixel=0.1)
    assert region.area_mm2 == pytest.approx(40 * 10 * 0.01)
    assert region.longest_mm == pytest.approx(4.0)
    (bare,) = regions(defect, (80, 80))
    assert (bare.area_mm2, bare.longest_mm) == (None, None)


def test_a_narrow_map_of_a_wide_image_is_stretched_by_side() -> None:
    (region,) = regions(drawn((10, 10, 10, 10)), (40, 120))
    assert region.box == (30, 10, 30, 10)


def test_regions_come_largest_first_and_not_without_end() -> None:
    small = [(2 * x, 2 * y, 1, 1) for x in range(10) for y in range(10)]
    found = regions(drawn((25, 25, 9, 9), *small), (40, 40))
    assert len(found) == MOST
    assert found[0].box == (25, 25, 9, 9)
    assert [one.area for one in found] == sorted((one.area for one in found), reverse=True)


def test_a_round_region_is_outlined_with_its_area_in_a_larger_image() -> None:
    rows, columns = np.mgrid[:40, :40]
    disc = np.where((rows - 20) ** 2 + (columns - 12) ** 2 <= 10, 0.9, 0).astype(np.float32)
    (region,) = regions(disc, (400, 400))
    outlined = cv2.contourArea(np.array(region.polygon, np.float32))
    assert outlined == pytest.approx(region.area, rel=0.15)


@pytest.mark.parametrize("thick", [1, 2, 3])
@pytest.mark.parametrize("end", [(180, 20), (180, 60), (180, 180), (60, 200)])
def test_a_scratch_is_outlined_with_an_area(thick: int, end: tuple[int, int]) -> None:
    scratch = np.zeros((224, 224), np.uint8)
    cv2.line(scratch, (20, 20), end, 1, thick)
    (region,) = regions(scratch.astype(np.float32), (224, 224))
    outlined = cv2.contourArea(np.array(region.polygon, np.float32))
    # Whole corners cannot be closer to the edges of a line of one pixel.
    assert region.area / 2 <= outlined <= 2 * region.area


def test_a_winding_scratch_is_outlined_with_its_area() -> None:
    scratch = np.zeros((224, 224), np.uint8)
    points = np.array([(20 + x, round(110 + 40 * np.sin(x / 9))) for x in range(180)])
    cv2.polylines(scratch, [points], False, 1, 3)
    (region,) = regions(scratch.astype(np.float32), (224, 224))
    outlined = cv2.contourArea(np.array(region.polygon, np.float32))
    assert outlined == pytest.approx(region.area, rel=0.1)


@settings(max_examples=60, deadline=None)
@given(box=st.tuples(*[st.integers(0, 30)] * 2, *[st.integers(1, 10)] * 2), side=st.integers(1, 60))
def test_a_region_has_a_place_in_an_image_smaller_than_the_map(
    box: tuple[int, int, int, int], side: int
) -> None:
    (region,) = regions(drawn(box), (side, side))
    left, top, width, height = region.box
    assert min(left, top) >= 0 < min(width, height)
    assert max(left + width, top + height) <= side
    assert cv2.contourArea(np.array(region.polygon, np.float32)) > 0
    assert np.clip(region.polygon, 0, side).tolist() == [list(one) for one in region.polygon]


def test_corners_that_touch_are_one_region_and_nothing_is_none() -> None:
    assert len(regions(drawn((0, 0, 5, 5), (5, 5, 5, 5)), (40, 40))) == 1
    assert regions(drawn(), (40, 40)) == ()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000))
def test_a_stored_region_is_small_and_flat_however_ragged_it_is(seed: int) -> None:
    ragged = (np.random.default_rng(seed).random((90, 90)) > 0.55).astype(np.float32)
    ragged[45] = ragged[:, 45] = 1
    for region in regions(ragged, (90, 90), mm_per_pixel=0.1):
        stored = region.document()
        assert 6 <= len(stored["polygon"]) <= 2 * MOST_CORNERS
        assert all(isinstance(place, int) for place in (*stored["polygon"], *stored["box"]))
        assert set(stored) == {
            "box", "polygon", "area", "p_defect", "area_mm2", "longest_mm", "weak"
        }  # fmt: skip
