"""People's verdicts become labels, with provenance.

Imports data, results and below.
Start reading at `verdicts.py`.
"""
