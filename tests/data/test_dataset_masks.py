"""Masks keep their defects at every size."""

import numpy as np
import pytest

from ml.data.dataset import resize_mask


def test_a_pixel_is_defect_from_its_share_on():
    mask = np.zeros((40, 40), bool)
    mask[:10, :10] = True  # All of one pixel,
    mask[10:12, 10:20] = True  # and a fifth of another.
    assert np.argwhere(resize_mask(mask, (4, 4))).tolist() == [[0, 0]]


@pytest.mark.parametrize("size", [(8, 8), (3, 5)])
def test_a_thin_scratch_does_not_vanish(size):
    mask = np.zeros((200, 200), bool)
    mask[90, 20:180] = True
    found = resize_mask(mask, size)
    assert found.shape == size
    assert 0 < found.sum() <= size[1]


def test_no_defect_stays_none():
    assert not resize_mask(np.zeros((9, 9), bool), (3, 3)).any()
