"""How bright an image is and how much it varies: what ingest and API ask of the light."""

import cv2
import numpy as np

from ml.imaging.decode import Pixels, resize_rgb

_SAMPLE_SIDE = 256


def shrunk(image: Pixels) -> Pixels:
    """An image at no more than 256 px a side, so that the measures of resolutions compare."""
    height, width = image.shape[:2]
    scale = min(1.0, _SAMPLE_SIDE / max(height, width))
    return resize_rgb(image, (max(1, round(height * scale)), max(1, round(width * scale))))


def light(sample: Pixels) -> tuple[float, float]:
    """Brightness and contrast: mean and standard deviation of grey (0-255) of a shrunk image."""
    mean, deviation = cv2.meanStdDev(to_grey(sample))
    return float(mean[0, 0]), float(deviation[0, 0])


def to_grey(image: Pixels) -> Pixels:
    """Grey `[H, W]` of an RGB image; a grey one as it is, which is what its three channels give."""
    if image.ndim == 2:
        return image
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
