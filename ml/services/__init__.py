"""Services as plain processes on loopback: what Airflow and its neighbours need on one machine.

Airflow, MLflow, Celery, Postgres and Redis run as processes and are never imported.
Start reading at `production.py`, then `processes.py`.
"""
