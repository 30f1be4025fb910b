"""The whole of Loupe on one machine: services on loopback, and the demo that drives the DAGs.

Imports everything below; Airflow and MLflow run as processes and are never imported.
Start reading at `demo.py`, then `stack.py`.
"""
