"""The numbers that describe an image: what validation checks and image drift watches."""

from math import hypot, sqrt
from typing import Any

import cv2
import numpy as np

from ml.imaging import Pixels, light, shrunk, to_grey

MEASURES = ("brightness", "contrast", "sharpness", "colourfulness", "aspect", "bytes")


def measure(image: Pixels) -> dict[str, Any]:
    """Measures of an RGB image `[H, W, 3]`, or a grey one `[H, W]`: as if it had three channels.

    Brightness and contrast are mean and standard deviation of grey (0-255); sharpness is the
    variance of the Laplacian (Pech-Pacheco et al., ICPR 2000) on a copy of at most 256 px, so that
    resolutions compare; colourfulness follows Hasler and Suesstrunk (SPIE 2003); `phash` is a
    64-bit DCT hash (hex).
    """
    height, width = image.shape[:2]
    sample = shrunk(image)
    grey = to_grey(sample)
    brightness, contrast = light(grey)
    edges = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))[1]
    return {
        "width": width,
        "height": height,
        "aspect": width / height,
        "brightness": brightness,
        "contrast": contrast,
        "sharpness": float(edges[0, 0] ** 2),
        "colourfulness": _colourfulness(sample),
        "phash": perceptual_hash(grey),
    }


def _colourfulness(image: Pixels) -> float:
    if image.ndim == 2:
        return 0.0
    red, green, blue = cv2.split(image)
    reds, greens, blues, _ = cv2.mean(image)
    red_green, yellow_blue = reds - greens, (reds + greens) / 2 - blues
    # The mean squares of both differences from those of the planes, by the parallelogram law.
    square = _distance(red, green)
    squares = (2 * _distance(red, blue) + 2 * _distance(green, blue) - square) / 4
    spread = sqrt(max(square - red_green**2 + squares - yellow_blue**2, 0.0))
    return spread + 0.3 * hypot(red_green, yellow_blue)


def _distance(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    """Mean squared difference of two planes."""
    return cv2.norm(one, other, cv2.NORM_L2SQR) / one.size


def perceptual_hash(grey: np.ndarray[Any, Any]) -> str:
    """64 bits of the lowest DCT frequencies of a grey image, against their median."""
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:8, :8].ravel()
    median = np.partition(low[1:], 31)[31]
    return np.packbits(low > median).tobytes().hex()
