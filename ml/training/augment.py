"""Changes of a classifier's training images, drawn for each image by itself.

An image then changes in the same way whichever process or thread draws it.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ml.settings.models import ClassifierConfig
from ml.training.pixels import augment

# Lamps drift: contrast about the mean grey level, and a slope of light across the image.
_CONTRAST = (0.7, 1.3)
_SLOPE = 0.15
# Focus drifts: so many images are blurred, by a Gaussian of up to so many pixels.
_BLURRED = 0.3
_BLUR = (0.3, 1.0)


def varied(
    images: npt.NDArray[np.uint8],
    randoms: Sequence[np.random.Generator],
    config: ClassifierConfig,
) -> Tensor:
    """Images `[N, H, W, 3]` as another day's camera sees them: `[N, 3, H, W]`, 0-255.

    `mirror` adds mirror images; `symmetric` too, and turns by quarters, which need square images.
    `varying` conditions add what lamps and focus do on a drifting line; on a steady one that only
    hides small defects. Each image has its own source of randomness.
    """
    changed = [
        _varied(image, random, config) for image, random in zip(images, randoms, strict=True)
    ]
    return torch.cat(changed).contiguous(memory_format=torch.channels_last)


def _varied(
    image: npt.NDArray[np.uint8], random: np.random.Generator, config: ClassifierConfig
) -> Tensor:
    if config.symmetric:
        image = np.rot90(image, int(random.integers(4)))
    image = np.ascontiguousarray(image)
    varying = config.conditions == "varying"
    if varying and random.random() < _BLURRED:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), random.uniform(*_BLUR)), np.uint8)
    tensor, _ = augment(image[None], None, random, mirror=config.mirror or config.symmetric)
    return _lit(tensor, random).clamp(0, 255) if varying else tensor


def _lit(image: Tensor, random: np.random.Generator) -> Tensor:
    height, width = image.shape[2:]
    mean = image.mean()
    contrast = random.uniform(*_CONTRAST)
    down, right = random.uniform(-_SLOPE, _SLOPE, 2)
    rows = torch.linspace(-1, 1, height)[:, None] * down
    columns = torch.linspace(-1, 1, width) * right
    lit: Tensor = ((image - mean) * contrast + mean) * (1 + rows + columns)
    return lit
