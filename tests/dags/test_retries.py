"""How long the tasks of a DAG outlive an outage, by Airflow's own arithmetic."""

import importlib.util
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

PROJECT = Path(__file__).parents[2]
sys.path.insert(0, str(PROJECT / "plugins"))

BEGAN = datetime(2026, 1, 10, tzinfo=UTC)


@pytest.fixture(params=["ingest", "train", "nightly", "monitor", "review"])
def dag(request):
    spec = importlib.util.spec_from_file_location("dag", PROJECT / "dags" / f"{request.param}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return vars(module)[f"demo__{request.param}"]


def _waits(task):
    from airflow.models.taskinstance import TaskInstance

    return [
        TaskInstance.next_retry_datetime(
            SimpleNamespace(
                task=task, dag_id=task.dag_id, task_id=task.task_id, logical_date=BEGAN,
                try_number=number, end_date=BEGAN, retry_delay_override=None,
            )
        ) - BEGAN
        for number in range(1, task.retries + 1)
    ]  # fmt: skip


def test_every_task_survives_an_outage_of_an_hour_and_looks_often_enough(dag):
    for task in dag.tasks:
        waits = _waits(task)
        assert timedelta(hours=1) <= sum(waits, timedelta()) <= timedelta(hours=1.5), task.task_id
        assert max(waits) <= timedelta(minutes=10)
        # A worker that was killed costs seconds.
        assert waits[0] <= timedelta(seconds=10)
