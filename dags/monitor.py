"""`<line>__monitor`: drift checks after each night; may ask for a retraining."""

from airflow.sdk import DAG, Param, task
from airflow.sdk.exceptions import AirflowFailException
from loupe_lines import DEFAULTS, START, asset, lines
from loupe_step import LoupeStepOperator

DOC = """
### Monitor
After each night: image drift, embedding drift and model drift against the champion's reference,
with Evidently reports. An alarm asks for a retraining, which really starts the train DAG.
"""


@task
def nights(params, triggering_asset_events):
    """The day asked for by hand, else every day announced: one run may stand for many nights."""
    events = [event for each in triggering_asset_events.values() for event in each]
    announced = {event.extra["day"] for event in events if "day" in event.extra}
    days = {params["day"]} if params["day"] else announced
    if not days:
        raise AirflowFailException("no night announced a day; give the parameter `day`")
    return [{"day": day} for day in sorted(days)]


def _ask(line):
    @task.short_circuit
    def alarm(drifts):
        """Goes on only when the drift of a night calls for a retraining."""
        return any(drift["retrain"] for drift in drifts)

    @task(outlets=[asset(line.name, "retrain")])
    def request_retraining():
        """The asset event that starts the train DAG."""

    return alarm, request_retraining


for line in lines():
    with DAG(
        f"{line.name}__monitor",
        schedule=[asset(line.name, "predictions")],
        start_date=START,
        catchup=False,
        max_active_runs=1,
        default_args=DEFAULTS,
        doc_md=DOC,
        tags=["loupe", line.name],
        params={"day": Param("", type="string", title="Day", description="YYYY-MM-DD")},
    ) as dag:
        checked = LoupeStepOperator.partial(
            task_id="drift",
            step="drift",
            line=line.name,
            map_index_template="{{ task.options.day }}",
        ).expand(options=nights())
        alarm, request = _ask(line)
        alarm(checked.output) >> request()
    globals()[dag.dag_id] = dag
