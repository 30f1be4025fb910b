"""Search for better training settings of a line, judged on validation and on nothing else.

Imports evaluation, training and below; optuna.
Start reading at `search.py`, then `study.py` (how many processes share one search).
"""
