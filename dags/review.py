"""`<line>__review`: people's verdicts from the results store become labels."""

from airflow.sdk import DAG
from loupe_lines import DEFAULTS, START, lines, step

DOC = """
### Review
Reads the verdicts that people gave in the dashboard and writes them as labels, with who and when.
The next dataset version learns from them.
"""

for line in lines():
    with DAG(
        f"{line.name}__review",
        schedule=line.review_schedule,
        start_date=START,
        catchup=False,
        max_active_runs=1,
        default_args=DEFAULTS,
        doc_md=DOC,
        tags=["loupe", line.name],
    ) as dag:
        step("review", line)
    globals()[dag.dag_id] = dag
