"""DAG files import fast, load nothing heavy, and make five DAGs for every line."""

import json
import os
import subprocess
import sys

import pytest

FILES = ("ingest", "train", "nightly", "monitor", "review")
HEAVY = {"torch", "mlflow", "evidently", "great_expectations", "pandas"}

_PROBE = """
import sys, time, json, importlib.machinery
sys.path.insert(0, "plugins")
import airflow.sdk, airflow.providers.standard.operators.hitl
start = time.perf_counter()
module = importlib.machinery.SourceFileLoader("probe", f"dags/{sys.argv[1]}.py").load_module()
seconds = time.perf_counter() - start
dags = {d.dag_id: sorted(d.task_ids) for d in vars(module).values() if type(d).__name__ == "DAG"}
print(json.dumps({"seconds": seconds, "dags": dags, "modules": sorted(sys.modules)}))
"""


def _import(project, name, tmp_path, **environ):
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _PROBE, name],
        capture_output=True,
        text=True,
        cwd=project,
        check=True,
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path), **environ},
    )
    return json.loads(process.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", FILES)
def test_a_dag_file_imports_in_under_a_second_and_loads_nothing_heavy(project, tmp_path, name):
    found = _import(project, name, tmp_path)
    assert found["seconds"] < 1.0
    assert HEAVY.isdisjoint(found["modules"])
    lines = {"casting", "demo", "kolektor_sdd", "magnetic_tile"}
    assert {dag.split("__")[0] for dag in found["dags"]} == lines


def test_a_broken_line_file_leaves_the_other_lines_their_dags(project, tmp_path):
    lines = tmp_path / "lines"
    lines.mkdir()
    (lines / "demo.toml").write_bytes((project / "lines" / "demo.toml").read_bytes())
    (lines / "bad.toml").write_text("name = ")
    found = _import(project, "nightly", tmp_path, LOUPE_LINES=str(lines))
    assert set(found["dags"]) == {"demo__nightly"}


def test_a_line_that_asks_for_approval_gets_the_task(project, tmp_path):
    lines = tmp_path / "lines"
    lines.mkdir()
    text = (project / "lines" / "demo.toml").read_text() + "\n[gate]\napproval = true\n"
    (lines / "demo.toml").write_text(text)
    tasks = _import(project, "train", tmp_path, LOUPE_LINES=str(lines))["dags"]["demo__train"]
    assert "approve" in tasks
