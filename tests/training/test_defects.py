"""A segmenter's batches show every type and group; a pasted defect is where its mask says."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.data.dataset import Sample
from ml.training.defects import changed, defect_batches, paste
from ml.training.pixels import Pixels, steps_per_epoch

WHEN = datetime(2026, 1, 5, tzinfo=UTC)
SIDE = 48


def samples(*kinds: tuple[str, str]) -> tuple[Sample, ...]:
    """Images of (defect type, group); no type is a good image."""
    return tuple(
        Sample(str(number), "train", group, "defect" if kind else "ok", kind, "",
               "p", "l", "c", WHEN, "2026-01-05")
        for number, (kind, group) in enumerate(kinds)
    )  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(cracks=st.integers(1, 30), pits=st.integers(1, 5), good=st.integers(1, 40))
def test_types_are_drawn_alike_however_many_images_each_has(
    cracks: int, pits: int, good: int
) -> None:
    found = samples(
        *[("crack", f"c{n // 3}") for n in range(cracks)],
        *[("pit", f"p{n}") for n in range(pits)],
        *[("", f"g{n}") for n in range(good)],
    )
    batches = list(defect_batches(found, 8, np.random.default_rng(1)))
    assert len(batches) == steps_per_epoch(len(found), 8)
    drawn = [found[place] for index in batches for place in index]
    assert sum(one.is_defect for one in drawn) == len(drawn) / 2
    count = [sum(one.defect_type == kind for one in drawn) for kind in ("crack", "pit")]
    assert abs(count[0] - count[1]) <= 1
    groups = [one.group for one in drawn if one.defect_type == "pit"]
    counts = [groups.count(f"p{n}") for n in range(pits)]
    assert max(counts) - min(counts) <= 1


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    box=st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(2, 12), st.integers(2, 12)),
    light=st.integers(40, 160),
)
def test_a_pasted_defect_is_dark_where_the_mask_says_and_nowhere_else(
    seed: int, box: tuple[int, int, int, int], light: int
) -> None:
    top, left, height, width = box
    donor_mask = np.zeros((SIDE, SIDE), np.uint8)
    donor_mask[top : top + height, left : left + width] = 1
    donor = np.full((SIDE, SIDE, 3), 120, np.uint8)
    donor[donor_mask > 0] = 30
    good = np.full((SIDE, SIDE, 3), light, np.uint8)
    nothing = np.zeros((SIDE, SIDE), np.uint8)
    image, mask = paste(good, nothing, donor, donor_mask, np.random.default_rng(seed), mirror=True)
    assert mask.sum() == donor_mask.sum()
    assert image[mask > 0].max() < 0.8 * light
    far = np.ones_like(mask)
    rows, columns = np.nonzero(mask)
    far[max(rows.min() - 8, 0) : rows.max() + 9, max(columns.min() - 8, 0) : columns.max() + 9] = 0
    assert (image[far > 0] == light).all()
    assert not nothing.any()
    assert (good == light).all()


def test_a_batch_keeps_its_defects_and_gives_some_good_images_one() -> None:
    found = samples(("pit", "a"), *[("", f"g{n}") for n in range(20)])
    images = np.full((21, SIDE, SIDE, 3), 120, np.uint8)
    masks = np.zeros((21, SIDE, SIDE), np.uint8)
    masks[0, 20:26, 20:26] = 1
    images[0][masks[0] > 0] = 20
    pixels = Pixels(found, images, masks)
    batch, drawn = changed(pixels, np.arange(21), np.random.default_rng(3), mirror=True)
    assert batch.shape == images.shape
    has = drawn.any(axis=(1, 2))
    assert has[0]
    assert 2 <= has[1:].sum() <= 15
    for image, mask in zip(batch, drawn, strict=True):
        if mask.any():
            assert image[mask > 0].mean() < 80
            assert image[mask == 0].mean() == pytest.approx(120, abs=3)


def test_a_pasted_defect_is_a_mirror_image_only_where_the_surface_has_no_handedness() -> None:
    drawn = np.zeros((SIDE, SIDE), np.uint8)
    drawn[10:20, 10:14] = 1
    drawn[16:20, 14:20] = 1  # an L
    donor = np.where(drawn[..., None] > 0, np.uint8(30), np.uint8(120)).repeat(3, axis=2)
    good, nothing = np.full((SIDE, SIDE, 3), 120, np.uint8), np.zeros((SIDE, SIDE), np.uint8)
    shapes = {False: set[bytes](), True: set[bytes]()}
    for mirror, found in shapes.items():
        for seed in range(20):
            random = np.random.default_rng(seed)
            _, mask = paste(good, nothing, donor, drawn, random, mirror=mirror)
            rows, columns = np.nonzero(mask)
            box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
            found.add(mask[box].tobytes())
    assert shapes[False] == {drawn[10:20, 10:20].tobytes()}
    assert len(shapes[True]) == 4
