"""What the models of a line are worth: calibrate, test, seal the bundle, compare, promote.

Imports training, inference, bundle, data, results, audit; mlflow and matplotlib inside functions.
Start reading at `evaluate.py`, then `gate.py` and `promote.py`.
"""
