"""A night that is late is told to people: the DAG's deadline, its callback, the alert."""

import asyncio
import importlib.util
import sys
from pathlib import Path

import pytest
import tiny_line
from airflow.serialization.serialized_objects import DagSerialization
from airflow.triggers.callback import CallbackTrigger

from ml.inference.batch import predict_shards
from ml.inference.late import report_late
from ml.inference.night import plan_night
from ml.inference.publish import publish
from ml.inference.reconcile import reconcile
from ml.results import open_results

PROJECT = Path(__file__).parents[2]
sys.path.insert(0, str(PROJECT / "plugins"))

DAY = tiny_line.DAY
LINE = """
name = "tiny"
title = "Tiny"
source = { uri = "nowhere", layout = { kind = "masks" } }
night = { schedule = "@daily", deadline_minutes = 90 }
"""


@pytest.fixture
def lines(tmp_path, monkeypatch):
    """The folder of line files with one line, whose nights have a deadline."""
    folder = tmp_path / "lines"
    folder.mkdir()
    (folder / "tiny.toml").write_text(LINE)
    monkeypatch.setenv("LOUPE_LINES", str(folder))
    return folder


def _dag():
    spec = importlib.util.spec_from_file_location("dag_late", PROJECT / "dags" / "nightly.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return vars(module)["tiny__nightly"]


def test_the_nightly_dag_has_the_deadline_of_its_line(lines):
    stored = DagSerialization.to_dict(_dag())
    assert "loupe_late.night_is_late" in str(stored["dag"]["deadline"])
    (lines / "tiny.toml").write_text(LINE.replace(", deadline_minutes = 90", ""))
    assert not DagSerialization.to_dict(_dag())["dag"].get("deadline")


def test_the_triggerer_writes_the_alert_of_the_night_that_is_late(tiny, lines, monkeypatch):
    monkeypatch.setenv("LOUPE_HOME", str(tiny.home.root))
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    plan_night(tiny.home, tiny.line, DAY)
    run = {"conf": {}, "logical_date": None, "run_after": "2026-01-06T02:00:00Z"}
    trigger = CallbackTrigger(
        "loupe_late.night_is_late", {"line": "tiny", "context": {"dag_run": run}}
    )

    async def last_event():
        return [event async for event in trigger.run()][-1]

    event = asyncio.run(last_event())
    assert event.payload["state"] == "success", event.payload
    assert event.payload["body"]["late"] is True
    (alert,) = open_results(tiny.env, tiny.home).find("alerts")
    assert (alert["day"], alert["kind"], alert["severity"]) == (DAY, "deadline", "alarm")
    assert "0 of 9 shards are predicted (0 of 60 images)" in alert["detail"]


def test_the_alert_says_which_step_is_missing_and_a_night_in_time_has_none(tiny):
    store = open_results(tiny.env, tiny.home)
    told = [report_late(tiny.home, store, "tiny", DAY)]
    plan = plan_night(tiny.home, tiny.line, DAY)
    predict_shards(tiny.home, plan, range(len(plan.sizes)), 16, 1)
    told.append(report_late(tiny.home, store, "tiny", DAY))
    publish(tiny.home, store, "tiny", DAY)
    told.append(report_late(tiny.home, store, "tiny", DAY))
    reconcile(tiny.home, store, "tiny", DAY)
    store.delete("alerts", [f"tiny__{DAY}__deadline"])
    told.append(report_late(tiny.home, store, "tiny", DAY))
    assert told == [
        "it has no plan yet (`shards`)",
        "it is not published",
        "it is published, but not reconciled",
        "",
    ]
    # That no bundle inspected it is another matter.
    assert store.count("alerts", {"kind": "deadline"}) == 0
