"""The predict API, the results API and the dashboard, as one Flask app.

Imports bundle, inference, imaging, results, audit and settings; no torch, pandas, mlflow, airflow.
Start reading at `app.py`.
"""

from serving.app import create_app

__all__ = ["create_app"]
