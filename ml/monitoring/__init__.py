"""Does the line still look like what the champion was tested on? Drift with controlled alarms.

Imports data, bundle, results and below; evidently inside functions.
Start reading at `drift.py`, then `tests.py`.
"""
