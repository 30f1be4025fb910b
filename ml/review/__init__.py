"""People's verdicts become labels, with provenance.

Imports data, results, audit and below.
Start reading at `verdicts.py`; `recorded.py` holds them against their ledgers.
"""
