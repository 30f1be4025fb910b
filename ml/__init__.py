"""Loupe: batch MLOps for visual defect inspection.

The library behind the DAGs, the CLI and the predict API. Importing this package costs nothing;
start reading at `ml/cli/__init__.py` (the steps) or ARCHITECTURE.md (the floors).
"""

__version__ = "0.1.0"
