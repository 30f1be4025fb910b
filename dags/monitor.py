"""`<line>__monitor`: drift checks after each night; may ask for a retraining."""

from airflow.sdk import DAG, Param, task
from loupe_lines import DEFAULTS, START, asset, lines, step

DOC = """
### Monitor
After each night: image drift, embedding drift and model drift against the champion's reference,
with Evidently reports. An alarm asks for a retraining, which really starts the train DAG.
"""

# By hand: the parameter. After a night: the day that the night announced.
DAY = "{{ params.day or (triggering_asset_events.values() | map('last') | first).extra['day'] }}"


def _ask(line):
    @task.short_circuit
    def alarm(drift):
        """Goes on only when the drift calls for a retraining."""
        return drift["retrain"]

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
        checked = step("drift", line, options={"day": DAY})
        alarm, request = _ask(line)
        alarm(checked.output) >> request()
    globals()[dag.dag_id] = dag
