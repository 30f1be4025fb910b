"""Does the line still look like what the champion was tested on? Drift with controlled alarms.

Imports data, bundle, inference, results and below; evidently inside functions.
Start reading at `drift.py`, then `compare.py` and `statistics.py`.
"""
