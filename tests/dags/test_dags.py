"""DAG files import fast, load nothing heavy, and make five DAGs for every line."""

import json
import os
import subprocess
import sys

import pytest

FILES = ("ingest", "train", "nightly", "monitor", "review")
HEAVY = {"torch", "mlflow", "evidently", "great_expectations", "pandas"}

# Airflow takes seconds to import. Each file is imported in a fork of a process that has done so,
# as the DAG processor does.
_PROBE = """
import sys, os, time, json, importlib.machinery
sys.path.insert(0, "plugins")
import airflow.sdk, airflow.providers.standard.operators.hitl
for name, lines in json.loads(sys.argv[1]):
    if os.fork() == 0:
        os.environ["LOUPE_LINES"] = lines
        start = time.process_time()
        loader = importlib.machinery.SourceFileLoader("probe", f"dags/{name}.py")
        made = vars(loader.load_module()).values()
        seconds = time.process_time() - start
        dags = [d for d in made if type(d).__name__ == "DAG"]
        tasks = {d.dag_id: sorted(d.task_ids) for d in dags}
        docs = {d.dag_id: d.doc_md for d in dags}
        found = {"seconds": seconds, "dags": tasks, "docs": docs, "modules": sorted(sys.modules)}
        print(json.dumps(found))
        sys.exit(0)
    assert os.wait()[1] == 0
"""


@pytest.fixture(scope="module")
def imported(project, tmp_path_factory):
    """What each DAG file made of the lines here; `broken` and `approval`: of lines of their own."""
    folder = tmp_path_factory.mktemp("lines")
    demo = (project / "lines" / "demo.toml").read_text()
    for name in ("broken", "approval"):
        (folder / name).mkdir()
    (folder / "broken" / "demo.toml").write_text(demo)
    (folder / "broken" / "bad.toml").write_text("name = ")
    (folder / "approval" / "demo.toml").write_text(demo + "\n[gate]\napproval = true\n")
    asked = {name: (name, str(project / "lines")) for name in FILES}
    asked["broken"] = ("nightly", str(folder / "broken"))
    asked["approval"] = ("train", str(folder / "approval"))
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _PROBE, json.dumps([*asked.values()])],
        capture_output=True,
        text=True,
        cwd=project,
        check=False,
        env={**os.environ, "AIRFLOW_HOME": str(folder), "LOUPE_DASHBOARD_URL": "http://loupe/"},
    )
    assert process.returncode == 0, process.stderr
    found = [json.loads(row) for row in process.stdout.splitlines() if row.startswith("{")]
    return dict(zip(asked, found, strict=True))


@pytest.mark.parametrize("name", FILES)
def test_a_dag_file_imports_in_under_a_second_and_loads_nothing_heavy(imported, name):
    found = imported[name]
    assert found["seconds"] < 1.0
    assert HEAVY.isdisjoint(found["modules"])
    lines = {"casting", "demo", "kolektor_sdd", "magnetic_tile"}
    assert {dag.split("__")[0] for dag in found["dags"]} == lines


def test_a_broken_line_file_leaves_the_other_lines_their_dags(imported):
    assert set(imported["broken"]["dags"]) == {"demo__nightly"}


def test_a_line_that_asks_for_approval_gets_the_task(imported):
    assert "approve" in imported["approval"]["dags"]["demo__train"]
    assert "approve" not in imported["train"]["dags"]["demo__train"]


def test_the_ingest_dag_links_to_what_was_refused(imported):
    docs = imported["ingest"]["docs"]
    for line in ("casting", "demo"):
        page = f"http://loupe/reports/{line}/validate/index.html"
        assert f"]({page})" in docs[f"{line}__ingest"]
