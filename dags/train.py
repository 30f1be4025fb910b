"""`<line>__train`: snapshot, fit, evaluate, gate, approve, promote or reject; emits `bundle`."""

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import DAG, AssetAny, AssetOrTimeSchedule, CronTriggerTimetable, Param, task
from loupe_lines import DEFAULTS, GPU, START, asset, lines, result, step
from loupe_step import LoupeStepOperator

DOC = """
### Train
A dataset version (split by group, leak guard), one fit per model of the line (`gpu` pool and queue,
resumable), calibration and thresholds on validation, figures on held-out test groups, the gate
against the champion, a person's approval where the line asks for it, and promotion or rejection.
Started by hand, by the schedule, or by a retrain request of the monitor.
"""

# Who approved or rejected.
ANSWERED = "{{ ti.xcom_pull(task_ids='approve')['responded_by_user']['name'] }}"


def _schedule(line):
    retrain = asset(line.name, "retrain")
    if line.train_schedule is None:
        return [retrain]
    timetable = CronTriggerTimetable(line.train_schedule, timezone="UTC")
    return AssetOrTimeSchedule(timetable=timetable, assets=AssetAny(retrain))


@task.short_circuit(ignore_downstream_trigger_rules=False)
def may_promote(gate):
    """Ends the run here, successfully, when the champion stays."""
    return gate["promote"]


def _approval(line):
    # Airflow's ApprovalOperator can only skip what follows; a rejection has a step of its own.
    return HITLOperator(
        task_id="approve",
        subject=f"Put a new bundle live on {line.title}?",
        body="{{ ti.xcom_pull(task_ids='gate')['reasons'] | join('; ') }}",
        options=["Approve", "Reject"],
    )


@task.branch
def follow(answer):
    """The step that a person chose."""
    return {"Approve": "promote", "Reject": "reject"}[answer["chosen_options"][0]]


for line in lines():
    with DAG(
        f"{line.name}__train",
        schedule=_schedule(line),
        start_date=START,
        catchup=False,
        max_active_runs=1,
        default_args=DEFAULTS,
        doc_md=DOC,
        tags=["loupe", line.name],
        params={
            "until": Param("", type="string", title="Until day", description="YYYY-MM-DD or empty"),
        },
    ) as dag:
        made = step("snapshot", line, options={"until": "{{ params.until }}"})
        dataset = result("snapshot", "dataset")
        fitted = LoupeStepOperator.partial(
            task_id="train",
            step="train",
            line=line.name,
            map_index_template="{{ task.options.model }}",
            **GPU,
        ).expand(options=[{"dataset": dataset, "model": model} for model in line.models])
        measured = step("evaluate", line, options={"dataset": dataset}, **GPU)
        bundle = result("evaluate", "bundle")
        compared = step("gate", line, options={"bundle": bundle})
        chosen = {"bundle": bundle, "by": ANSWERED if line.gate.approval else "gate"}
        live = step("promote", line, options=chosen, outlets=[asset(line.name, "bundle")])
        allowed = may_promote(compared.output)
        made >> fitted >> measured >> compared
        if line.gate.approval:
            asked = _approval(line)
            allowed >> asked
            follow(asked.output) >> [live, step("reject", line, options=chosen)]
        else:
            allowed >> live
    globals()[dag.dag_id] = dag
