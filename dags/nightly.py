"""`<line>__nightly`: shards, predict, publish, reconcile; emits `predictions`."""

from airflow.sdk import DAG, CronTriggerTimetable, Metadata, Param, task
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowFailException
from loupe_late import deadline
from loupe_lines import DEFAULTS, GPU, START, asset, lines, step
from loupe_step import LoupeStepOperator

DOC = """
### Nightly inspection
Inspects every part of one day with the champion that the night began with. A part that cannot be
inspected is held for review. Every count is reconciled before the night is called done. Backfill
any past day with the parameter `day`; without it, the day before the run.
"""

# The day asked for, else the day before; a run started by hand or over the API has no logical date.
DAY = "{{ params.day or macros.ds_add((dag_run.logical_date or dag_run.run_after) | ds, -1) }}"


@task
def shard_options(plan):
    """One set of command-line options per shard; the bundle is fixed for the whole night."""
    bundle, count = plan["bundle"], len(plan["shards"])
    most = conf.getint("core", "max_map_length", fallback=1024)
    if count > most:
        # Airflow would refuse the list for an hour of retries, and say of no key why.
        raise AirflowFailException(
            f"{count} shards, and `core.max_map_length` lets Airflow map {most}: raise it, or "
            "`night.shard_images` and `night.shard_megabytes` of the line, and clear `shards`"
        )
    return [
        {"day": one["day"], "shard": one["shard"], "bundle": bundle or None}
        for one in plan["shards"]
    ]


def _announce(line):
    predictions = asset(line.name, "predictions")

    @task(outlets=[predictions])
    def announce(counts):
        """Tell the monitor which day is there."""
        yield Metadata(predictions, extra={"day": counts["day"]})

    return announce


for line in lines():
    timetable = line.night.schedule and CronTriggerTimetable(line.night.schedule, timezone="UTC")
    with DAG(
        f"{line.name}__nightly",
        schedule=timetable or None,
        start_date=START,
        catchup=False,
        max_active_runs=1,
        default_args=DEFAULTS,
        deadline=deadline(line.name, line.night.deadline_minutes),
        doc_md=DOC,
        tags=["loupe", line.name],
        params={
            "day": Param("", type="string", title="Day", description="YYYY-MM-DD; empty: yesterday")
        },
    ) as dag:
        plan = step("shards", line, options={"day": DAY})
        predicted = LoupeStepOperator.partial(
            task_id="predict", step="predict", line=line.name, **GPU
        ).expand(options=shard_options(plan.output))
        published = step("publish", line, options={"day": DAY}, trigger_rule="none_failed")
        reconciled = step("reconcile", line, options={"day": DAY})
        predicted >> published >> reconciled >> _announce(line)(reconciled.output)
    globals()[dag.dag_id] = dag
