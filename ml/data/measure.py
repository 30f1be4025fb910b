"""The numbers that describe an image: what validation checks and image drift watches."""

from typing import Any

import cv2
import numpy as np

from ml.imaging import Pixels, light, shrunk

MEASURES = ("brightness", "contrast", "sharpness", "colourfulness", "aspect", "bytes")


def measure(image: Pixels) -> dict[str, Any]:
    """Measures of an RGB image `[H, W, 3]`.

    Brightness and contrast are mean and standard deviation of grey (0-255); sharpness is the
    variance of the Laplacian (Pech-Pacheco et al., ICPR 2000) on a copy of at most 256 px, so that
    resolutions compare; colourfulness follows Hasler and Suesstrunk (SPIE 2003); `phash` is a
    64-bit DCT hash (hex).
    """
    height, width = image.shape[:2]
    sample = shrunk(image)
    brightness, contrast = light(sample)
    grey = cv2.cvtColor(sample, cv2.COLOR_RGB2GRAY)
    return {
        "width": width,
        "height": height,
        "aspect": width / height,
        "brightness": brightness,
        "contrast": contrast,
        "sharpness": float(cv2.Laplacian(grey, cv2.CV_64F).var()),
        "colourfulness": _colourfulness(sample),
        "phash": perceptual_hash(grey),
    }


def _colourfulness(image: np.ndarray[Any, Any]) -> float:
    red, green, blue = image.astype(np.float32).reshape(-1, 3).T
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    spread = np.hypot(red_green.std(), yellow_blue.std())
    return float(spread + 0.3 * np.hypot(red_green.mean(), yellow_blue.mean()))


def perceptual_hash(grey: np.ndarray[Any, Any]) -> str:
    """64 bits of the lowest DCT frequencies of a grey image, against their median."""
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:8, :8].ravel()
    return np.packbits(low > np.median(low[1:])).tobytes().hex()
