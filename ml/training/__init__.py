"""Fit the models of a line on a dataset version; every run can be killed and resumed.

Imports models, data, imaging and below; mlflow inside functions.
Start reading at `run.py` (what a run is), then `loop.py`, then `fit.py`.
"""
