"""Batches are half defects, groups have the same say, and images change one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.settings.models import ClassifierConfig
from ml.training.augment import varied
from ml.training.pixels import steps_per_epoch
from ml.training.sampling import equal_say, group_balanced_batches

TURNED = ClassifierConfig(symmetric=True, conditions="varying")


@settings(max_examples=60, deadline=None)
@given(
    good=st.lists(st.integers(1, 20), min_size=1, max_size=6),
    bad=st.lists(st.integers(1, 20), min_size=1, max_size=6),
    batch=st.integers(2, 16),
)
def test_every_batch_is_half_defects_and_every_group_comes_as_often(
    good: list[int], bad: list[int], batch: int
) -> None:
    sizes = good + bad
    groups = np.repeat([f"g{number:02d}" for number in range(len(sizes))], sizes)
    is_defect = np.arange(len(groups)) >= sum(good)
    batches = list(group_balanced_batches(is_defect, groups, batch, np.random.default_rng(1)))
    assert len(batches) == steps_per_epoch(len(groups), batch)
    for index in batches:
        assert is_defect[index].sum() == (~is_defect[index]).sum() == batch // 2
    drawn = np.bincount(np.concatenate(batches), minlength=len(groups))
    for side in (is_defect, ~is_defect):
        names = np.unique(groups[side])
        by_group = [drawn[side & (groups == name)] for name in names]
        assert np.ptp([one.sum() for one in by_group]) <= 1
        assert all(np.ptp(one) <= 1 for one in by_group)


def test_both_kinds_have_the_same_say_however_many_images_they_have() -> None:
    defect = np.array([True] * 3 + [False] * 6)
    assert equal_say(defect).tolist() == pytest.approx([1 / 6] * 3 + [1 / 12] * 6)
    assert equal_say(~np.zeros(4, bool)).tolist() == pytest.approx([1 / 4] * 4)


def test_an_image_changes_the_same_whatever_stands_beside_it() -> None:
    images = np.random.default_rng(1).integers(0, 255, (4, 24, 24, 3), dtype=np.uint8)
    whole = varied(images, np.random.default_rng([1, 2]).spawn(4), TURNED)
    half = varied(images[1::2], np.random.default_rng([1, 2]).spawn(4)[1::2], TURNED)
    assert whole[1::2].equal(half)
    assert 0 <= whole.min() < whole.max() <= 255


def test_only_symmetric_parts_are_turned() -> None:
    rows = np.arange(8, 72, dtype=np.uint8)[None, :, None, None] * 3
    images = np.broadcast_to(rows, (40, 64, 64, 3))
    turned = []
    for symmetric in (False, True):
        found = varied(
            images, np.random.default_rng(1).spawn(40), ClassifierConfig(symmetric=symmetric)
        ).mean(dim=1)
        down = (found[:, 48:].mean(dim=(1, 2)) - found[:, :16].mean(dim=(1, 2))).abs()
        right = (found[:, :, 48:].mean(dim=(1, 2)) - found[:, :, :16].mean(dim=(1, 2))).abs()
        turned.append(int((right > down).sum()))
    assert turned[0] == 0
    assert 10 < turned[1] < 30


@pytest.mark.parametrize(
    ("keys", "mirrored"), [({}, False), ({"mirror": True}, True), ({"symmetric": True}, True)]
)
def test_an_image_is_mirrored_only_where_the_line_says_so(
    keys: dict[str, bool], mirrored: bool
) -> None:
    # Bright on the left, less so above: four mirror images, each turn of them another picture.
    images = np.full((40, 32, 32, 3), 60, np.uint8)
    images[:, :16] += 40
    images[:, :, :16] += 100
    found = varied(images, np.random.default_rng(1).spawn(40), ClassifierConfig(**keys))
    grey = found.mean(dim=1)
    left = grey[:, :, :14].mean(dim=(1, 2)) > grey[:, :, 18:].mean(dim=(1, 2))
    above = grey[:, :14].mean(dim=(1, 2)) > grey[:, 18:].mean(dim=(1, 2))
    assert len(set(zip(left.tolist(), above.tolist(), strict=True))) == (4 if mirrored else 1)
    assert mirrored or bool(left[0] and above[0])
