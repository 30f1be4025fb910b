"""The Flask app: predict, the results API, reports and the dashboard; no torch, pandas or mlflow.

Imports ml.bundle, imaging, inference, results, settings, errors and files only.
Start reading at `app.py`, then `predict.py`.
"""

from serving.app import create_app

__all__ = ["create_app"]
