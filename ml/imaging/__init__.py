"""Image bytes to pixels, the one way that ingest, training, the night and the API share.

Imports numpy, OpenCV, simplejpeg and Pillow only.
Start reading at `decode.py`.
"""

from ml.imaging.decode import Pixels, decode_grey, decode_rgb, resize_rgb, to_batch
from ml.imaging.light import light, shrunk

__all__ = ["Pixels", "decode_grey", "decode_rgb", "light", "resize_rgb", "shrunk", "to_batch"]
