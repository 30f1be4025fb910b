"""What the line asks of an image, as the ingest checks it; the API must not pass what the ingest
would quarantine.
"""

from ml.imaging import Pixels, light, shrunk
from ml.settings.line import ChecksConfig
from serving.errors import ApiError


def require_acceptable(image: Pixels, checks: ChecksConfig) -> None:
    """Raise ApiError 422 with the ingest's quarantine word when the image is not acceptable."""
    height, width = image.shape[:2]
    if checks.sizes and (height, width) not in checks.sizes:
        expected = ", ".join(f"{w} x {h}" for h, w in checks.sizes)
        _refuse("wrong_size", f"{width} x {height} pixels; the line takes {expected}")
    if min(height, width) < checks.min_side:
        _refuse("too_small", f"{width} x {height} pixels; at least {checks.min_side} a side")
    brightness, contrast = light(shrunk(image))
    low, high = checks.brightness
    if not low <= brightness <= high:
        _refuse("brightness", f"brightness {brightness:.1f}; the line takes {low:g} to {high:g}")
    if contrast < checks.min_contrast:
        _refuse("contrast", f"contrast {contrast:.1f}; at least {checks.min_contrast:g}")


def _refuse(reason: str, message: str) -> None:
    raise ApiError(422, reason, message)
