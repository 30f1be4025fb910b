"""Which days a night inspects and a monitor run checks, in the context that Airflow gives."""

import importlib.util
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "plugins"))

from airflow.sdk.api.datamodels import _generated as api
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

DAGS = Path(__file__).parents[2] / "dags"
MORNING = datetime(2026, 1, 10, 6, tzinfo=UTC)


@pytest.fixture
def context():
    """The context of a task in a run: by hand, or scheduled (`logical_date`), or after events."""

    def make(dag, task, logical_date=None, announced=(), **conf):
        run = api.DagRun.model_construct(
            dag_id=dag.dag_id,
            run_id="r",
            logical_date=logical_date,
            run_after=MORNING,
            start_date=MORNING,
            conf=conf,
            consumed_asset_events=[_event(extra) for extra in announced],
            partition_key=None,
            partition_date=None,
            data_interval_start=logical_date,
            data_interval_end=logical_date,
        )
        server = api.TIRunContext.model_construct(dag_run=run, max_tries=0, task_reschedule_count=0)
        instance = RuntimeTaskInstance.model_construct(
            id=uuid.uuid4(),
            task=task,
            task_id=task.task_id,
            dag_id=dag.dag_id,
            run_id="r",
            try_number=1,
            map_index=-1,
            _ti_context_from_server=server,
        )
        return instance.get_template_context()

    return make


def _event(extra):
    return api.AssetEventDagRunReference(
        asset=api.AssetReferenceAssetEventDagRun(name="n", uri="loupe://demo/n", extra={}),
        extra=extra,
        source_task_id="announce",
        source_dag_id="demo__nightly",
        source_run_id="r",
        source_map_index=-1,
        source_aliases=[],
        timestamp=MORNING,
    )


def _dag(name):
    spec = importlib.util.spec_from_file_location(f"dag_{name}", DAGS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return vars(module)[f"demo__{name}"]


@pytest.mark.parametrize("task_id", ["shards", "publish", "reconcile"])
@pytest.mark.parametrize(
    ("given", "day"),
    [
        ({}, "2026-01-09"),
        ({"logical_date": datetime(2026, 1, 8, 2, tzinfo=UTC)}, "2026-01-07"),
        ({"day": "2026-01-03"}, "2026-01-03"),
    ],
    ids=["by hand", "scheduled", "day asked for"],
)
def test_a_night_is_of_the_day_asked_for_or_the_day_before(context, task_id, given, day):
    dag = _dag("nightly")
    task = dag.get_task(task_id)
    task.render_template_fields(context(dag, task, **given))
    assert task.options == {"day": day}


def _nights(context, **given):
    dag = _dag("monitor")
    task = dag.get_task("nights")
    return task.execute(context(dag, task, **given))


def test_a_run_of_many_events_checks_every_night_once(context):
    announced = [{"day": day} for day in ("2026-01-09", "2026-01-07", "2026-01-08", "2026-01-07")]
    days = [{"day": f"2026-01-0{number}"} for number in (7, 8, 9)]
    assert _nights(context, announced=announced) == days
    assert _dag("monitor").get_task("drift").is_mapped


def test_a_monitor_started_by_hand_checks_the_day_asked_for(context):
    assert _nights(context, day="2026-01-03") == [{"day": "2026-01-03"}]


@pytest.mark.parametrize("announced", [[], [{}]], ids=["by hand", "an event without a day"])
def test_a_monitor_without_a_day_fails_at_once_and_says_so(context, announced):
    with pytest.raises(AirflowFailException, match="give the parameter `day`"):
        _nights(context, announced=announced)


@pytest.mark.parametrize("asked", [[], [False], [False, True]])
def test_one_night_is_enough_to_ask_for_a_retraining(asked):
    alarm = _dag("monitor").get_task("alarm").python_callable
    assert alarm([{"retrain": one} for one in asked]) is (True in asked)


def test_a_night_of_more_shards_than_airflow_maps_fails_at_once(monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", "2")
    deal = _dag("nightly").get_task("shard_options").python_callable
    shards = [{"day": "2026-01-09", "shard": number, "images": 1} for number in range(3)]
    assert len(deal({"bundle": "b", "shards": shards[:2]})) == 2
    with pytest.raises(AirflowFailException, match=r"3 shards, .* lets Airflow map 2: raise it"):
        deal({"bundle": "b", "shards": shards})
