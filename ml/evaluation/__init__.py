"""Honest numbers: scores, calibration on validation only, metrics with intervals, the gate.

Imports training (finished runs), inference, bundle, data and below; mlflow inside functions.
Start reading at `evaluate.py`.
"""
