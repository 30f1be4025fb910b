"""What every DAG file shares: the lines, their assets, and how a step becomes a task.

Light on purpose: a DAG file must import in well under a second.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import Asset
from loupe_step import LoupeStepOperator

from ml.errors import SettingsError
from ml.settings import LineConfig, load_line, load_lines

# Where the Flask app answers; a browser opens it.
DASHBOARD = os.environ.get("LOUPE_DASHBOARD_URL", "http://127.0.0.1:8000/")

START = datetime(2026, 1, 1, tzinfo=UTC)

# Heavy steps share one pool (a slot per GPU, or one on a CPU) and go to the GPU workers' queue.
GPU: dict[str, Any] = {"pool": "gpu", "queue": "gpu"}

# An outage of an hour is survived: the waits double from 5 s, up to ten minutes, and are 60 minutes
# together at least. A night that waits is better than one that a person must clear.
DEFAULTS: dict[str, Any] = {
    "owner": "loupe",
    "retries": 12,
    "retry_delay": timedelta(seconds=5),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=10),
}


def lines() -> Iterator[LineConfig]:
    """Every line whose file is right. A wrong one must not take the others' DAGs down."""
    folder = Path(os.environ.get("LOUPE_LINES", Path(__file__).parents[1] / "lines"))
    for path in load_lines(folder).values():
        try:
            yield load_line(path)
        except SettingsError as error:
            print(f"line left out: {error}")  # goes to the DAG processor's log


def asset(line: str, name: str) -> Asset:
    """`images`, `bundle`, `predictions` or `retrain` of a line."""
    return Asset(name=f"{line}__{name}", uri=f"loupe://{line}/{name}")


def step(name: str, line: LineConfig, **kwargs: Any) -> LoupeStepOperator:
    """The task of one step; `options` are its command-line options."""
    task_id = kwargs.pop("task_id", name)
    doc = kwargs.pop("doc_md", f"Runs `loupe {name} --line {line.name}`.")
    return LoupeStepOperator(task_id=task_id, step=name, line=line.name, doc_md=doc, **kwargs)


def result(task: str, key: str) -> str:
    """Template of one value of an earlier step's result."""
    return f"{{{{ ti.xcom_pull(task_ids='{task}')['{key}'] }}}}"
