"""From a folder or bucket to versioned tables and dataset versions.

Imports settings, imaging, files, progress; great_expectations and deltalake inside functions.
Start reading at `ingest.py`, then `validate.py`, `decide.py`, `catalog.py`, `snapshot.py`.
"""
