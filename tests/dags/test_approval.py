"""What a person answers in Airflow is what follows: promotion or rejection, with the name."""

import importlib.util
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
sys.path.insert(0, str(PROJECT / "plugins"))

LINE = """
name = "tiny"
title = "Tiny"
source = { uri = "nowhere", layout = { kind = "masks" } }
gate = { approval = true }
"""


def load(folder, monkeypatch, line):
    """The training DAG of a line file."""
    (folder / "tiny.toml").write_text(line)
    monkeypatch.setenv("LOUPE_LINES", str(folder))
    spec = importlib.util.spec_from_file_location("dag_approval", PROJECT / "dags" / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return vars(module)["tiny__train"]


@pytest.fixture
def dag(tmp_path, monkeypatch):
    """The training DAG of a line whose promotions a person approves."""
    return load(tmp_path, monkeypatch, LINE)


@pytest.mark.parametrize(("answer", "step"), [("Approve", "promote"), ("Reject", "reject")])
def test_the_answer_is_followed(dag, answer, step):
    assert answer in dag.get_task("approve").options
    follow = dag.get_task("follow")
    assert follow.python_callable({"chosen_options": [answer]}) == step
    assert follow.upstream_task_ids == {"approve"}
    assert dag.get_task(step).upstream_task_ids >= {"follow"}


@pytest.mark.parametrize("step", ["promote", "reject"])
def test_the_ledger_is_told_the_bundle_and_who_answered(dag, step):
    said = {
        "evaluate": {"bundle": "b1"},
        "approve": {"responded_by_user": {"id": "7", "name": "inspector"}},
    }

    class Instance:
        def xcom_pull(self, task_ids):
            return said[task_ids]

    task = dag.get_task(step)
    task.render_template_fields({"ti": Instance()})
    assert (task.step, task.options) == (step, {"bundle": "b1", "by": "inspector"})


def test_without_an_approval_the_ledger_is_told_that_it_was_the_gate(tmp_path, monkeypatch):
    dag = load(tmp_path, monkeypatch, LINE.replace("true", "false"))
    assert dag.get_task("promote").options["by"] == "gate"
