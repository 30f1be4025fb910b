"""The measures are those of their definitions: a drift reference must hold for years."""

import cv2
import numpy as np
import pytest

from ml.data.measure import measure
from ml.imaging import shrunk


def _by_definition(image):
    sample = shrunk(image)
    grey = cv2.cvtColor(sample, cv2.COLOR_RGB2GRAY).astype(np.float64)
    wide = np.pad(grey, 1, mode="reflect")
    around = wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:]
    red, green, blue = sample.astype(np.float64).transpose(2, 0, 1)
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    return {
        "brightness": grey.mean(),
        "contrast": grey.std(),
        "sharpness": (around - 4 * grey).var(),
        "colourfulness": np.hypot(red_green.std(), yellow_blue.std())
        + 0.3 * np.hypot(red_green.mean(), yellow_blue.mean()),
    }


@pytest.mark.parametrize("size", [(300, 400), (40, 61)])
def test_measures_are_as_defined(size):
    noise = np.random.default_rng(1).integers(0, 255, (*size, 3)).astype(np.uint8)
    image = cv2.GaussianBlur(noise, (0, 0), 2) // np.array([1, 2, 3], np.uint8)
    found = measure(image)
    assert {name: found[name] for name in _by_definition(image)} == pytest.approx(
        _by_definition(image), rel=1e-9
    )


@pytest.mark.parametrize("size", [(300, 400), (40, 61)])
def test_one_plane_measures_as_three_equal_ones(size):
    grey = np.random.default_rng(2).integers(0, 255, size).astype(np.uint8)
    assert measure(grey) == measure(np.dstack([grey] * 3))
