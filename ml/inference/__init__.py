"""From image bytes to a verdict with ONNX Runtime, the same for the night and the API.

Imports numpy, OpenCV, ONNX Runtime and ml.bundle; no torch, no pandas.
Start reading at `engine.py`, then `verdict.py`.
"""
