"""The results store: small documents that the dashboard, the API and people read.

Imports the standard library only; google-cloud-firestore inside the Firestore store.
Start reading at `store.py`.
"""

from ml.results.store import Document, ResultStore, open_results

__all__ = ["Document", "ResultStore", "open_results"]
