"""The ledger: append-only, hash-chained lines that say what was decided, and their verifier.

Imports the standard library and errors only.
Start reading at `ledger.py`.
"""
