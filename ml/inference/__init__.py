"""From image bytes to a verdict with ONNX Runtime, the same for the night and the API.

Imports numpy, OpenCV, ONNX Runtime and ml.bundle; the night (night, batch, publish, reconcile)
also ml.data.
Start reading at `engine.py`, then `verdict.py`; for the night at `night.py`.
"""
