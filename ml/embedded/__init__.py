"""The demo on one machine: Airflow on SQLite with everything beside it, and its story.

Imports everything below; the services themselves are processes of `ml/services/`.
Start reading at `demo.py`, then `stack.py`.
"""
