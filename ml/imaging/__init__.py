"""Image bytes to pixels, the one way that ingest, training, the night and the API share.

Imports numpy, OpenCV, simplejpeg and Pillow only.
Start reading at `decode.py`.
"""

from ml.imaging.decode import (
    Pixels,
    decode,
    decode_grey,
    decode_rgb,
    resize_rgb,
    to_batch,
    to_rgb,
    varies_in_alpha,
)
from ml.imaging.light import light, shrunk, to_grey

__all__ = [
    "Pixels",
    "decode",
    "decode_grey",
    "decode_rgb",
    "light",
    "resize_rgb",
    "shrunk",
    "to_batch",
    "to_grey",
    "to_rgb",
    "varies_in_alpha",
]
