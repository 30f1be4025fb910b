"""The Flask app: predict, the results API, reports and the dashboard; no torch, pandas or mlflow.

Imports ml.bundle, imaging, inference, results, settings, errors and files only.
Start reading at `app.py`, then `predict.py`.
"""

import os

# A few kilobytes of WebP or TIFF can claim gigabytes of pixels. OpenCV reads this limit once, when
# it is loaded, and that is below.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", "100000000")

from serving.app import create_app

__all__ = ["create_app"]
