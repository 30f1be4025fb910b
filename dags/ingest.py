"""`<line>__ingest`: list new objects, hash, decode, measure, validate; emits `images`."""

from airflow.sdk import DAG, AssetAny, AssetOrTimeSchedule, CronTriggerTimetable, Param
from loupe_lines import DASHBOARD, DEFAULTS, START, asset, lines, result, step

DOC = """
### Ingest
Lists what is new in the line's source, hashes, decodes and measures it, and lets Great Expectations
decide: accept, quarantine with a reason, or duplicate. Run it as often as you like: what is in the
catalog is not read again. [What was refused, and why]({page})
"""


def _schedule(line):
    if line.source.queue is None:
        return line.ingest_schedule
    # Imported for lines with a queue only: it loads the base of the triggers.
    from loupe_queue import arrivals

    arrived = arrivals(line.name, line.source.queue)
    if line.ingest_schedule is None:
        return [arrived]
    timetable = CronTriggerTimetable(line.ingest_schedule, timezone="UTC")
    return AssetOrTimeSchedule(timetable=timetable, assets=AssetAny(arrived))


for line in lines():
    with DAG(
        f"{line.name}__ingest",
        schedule=_schedule(line),
        start_date=START,
        catchup=False,
        max_active_runs=1,
        default_args=DEFAULTS,
        doc_md=DOC.format(page=f"{DASHBOARD}reports/{line.name}/validate/index.html"),
        tags=["loupe", line.name],
        params={
            "source": Param("", type="string", title="Source", description="empty: the line's own"),
            "until": Param("", type="string", title="Until day", description="YYYY-MM-DD or empty"),
        },
    ) as dag:
        options = {"source": "{{ params.source }}", "until": "{{ params.until }}"}
        listed = step("ingest", line, options=options, state_of=asset(line.name, "images"))
        checked = step(
            "validate",
            line,
            options={"batch": result("ingest", "batch")},
            outlets=[asset(line.name, "images")],
        )
        listed >> checked
    globals()[dag.dag_id] = dag
