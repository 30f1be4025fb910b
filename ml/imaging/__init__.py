"""Image bytes to pixels, the one way that ingest, training, the night and the API share.

Imports numpy and OpenCV only.
Start reading at `decode.py`.
"""

import os

# OpenCV reads this at its import. It refuses a forged size of the formats whose header `decode.py`
# does not read (WebP, TIFF) before a pixel is allocated.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", "100000000")

from ml.imaging.decode import Pixels, decode_rgb, resize_rgb, to_batch

__all__ = ["Pixels", "decode_rgb", "resize_rgb", "to_batch"]
