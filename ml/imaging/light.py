"""How bright an image is and how much it varies: what ingest and API ask of the light."""

import cv2

from ml.imaging.decode import Pixels, resize_rgb

_SAMPLE_SIDE = 256


def shrunk(image: Pixels) -> Pixels:
    """An RGB image at no more than 256 px a side, so that the measures of resolutions compare."""
    height, width = image.shape[:2]
    scale = min(1.0, _SAMPLE_SIDE / max(height, width))
    return resize_rgb(image, (max(1, round(height * scale)), max(1, round(width * scale))))


def light(sample: Pixels) -> tuple[float, float]:
    """Brightness and contrast: mean and standard deviation of grey (0-255) of a shrunk image."""
    grey = cv2.cvtColor(sample, cv2.COLOR_RGB2GRAY)
    return float(grey.mean()), float(grey.std())
