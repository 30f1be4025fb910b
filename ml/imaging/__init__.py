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
from ml.imaging.outlines import is_drawn, read_drawn

__all__ = [
    "Pixels",
    "decode",
    "decode_grey",
    "decode_rgb",
    "is_drawn",
    "light",
    "read_drawn",
    "resize_rgb",
    "shrunk",
    "to_batch",
    "to_grey",
    "to_rgb",
    "varies_in_alpha",
]
