"""What a demo calls success: every run that it started, and every run that those started."""

import json
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from ml.embedded import demo, follow
from ml.embedded.demo import Demo
from ml.services.airflow import Airflow
from ml.settings import Home, load_line

YESTERDAY = datetime.now(UTC) - timedelta(days=1)


class FakeAirflow:
    """Runs end at once, in the state that `outcomes` has for their id (one a try), else well.

    A night starts a monitor run; `alarms` says after which days that asks for a retraining.
    """

    def __init__(self, alarms=(), **outcomes):
        self.states, self.ended, self.retried = {}, {}, []
        self.alarms, self.outcomes = alarms, outcomes
        self.waiting = {}

    def login(self):
        pass

    def ensure_pool(self, name, slots):
        pass

    def has_dag(self, dag):
        return True

    def unpause(self, dag):
        pass

    def run(self, dag, run):
        if (dag, run) not in self.states:
            return None
        ended = self.ended[dag, run].isoformat()
        return {"dag_run_id": run, "state": self.states[dag, run], "end_date": ended}

    def trigger(self, dag, run, conf):
        self._end(dag, run)

    def retry(self, dag, run):
        self.retried.append((dag, run))
        self._end(dag, run)

    def tasks(self, dag, run):
        asked = any(run == f"after_{day}" for day in self.alarms)
        state = "success" if asked else "skipped"
        return [{"task_id": "request_retraining", "state": state}]

    def busy(self, dag):
        return False

    def started(self, dag, run, target):
        if (dag, run) not in self.states or self.waiting.pop((dag, run), 0):
            return []
        name = run.replace("demo_", "after") if target.endswith("monitor") else f"for_{run}"
        if (target, name) not in self.states:
            self._end(target, name)
        return [name]

    def _end(self, dag, run):
        key = run.replace("-", "_")
        outcomes = self.outcomes.get(f"{dag.split('__')[1]}_{key}") or ["success"]
        self.states[dag, run] = outcomes.pop(0)
        self.ended[dag, run] = datetime.now(UTC) + timedelta(seconds=1)

    def age(self):
        """Everything so far is of an earlier demo."""
        self.ended = dict.fromkeys(self.ended, YESTERDAY)


@pytest.fixture
def play(project, tmp_path, monkeypatch):
    """Play the demo line's story, without its images."""
    monkeypatch.setattr(demo, "time", SimpleNamespace(monotonic=_clock(), sleep=lambda _: None))
    monkeypatch.setattr(follow, "_SECONDS_BETWEEN_LOOKS", 0)
    line = load_line(project / "lines" / "demo.toml")

    def play(airflow):
        return Demo(Home(tmp_path), line, str(tmp_path / "images"), airflow).play()

    return play


def _clock():
    """Ten seconds pass between two looks."""
    seconds = iter(range(0, 10_000, 10))
    return lambda: next(seconds)


LAST_TWO = demo.demo_days()[-2:]
FIRST, SECOND = (day.replace("-", "_") for day in LAST_TWO)


def test_a_story_without_alarm_has_two_nights_and_no_retraining(play):
    story = play(FakeAirflow())
    assert story.succeeded
    assert [dag for dag, _ in story.states] == [
        "demo__ingest",
        "demo__train",
        *["demo__ingest", "demo__nightly", "demo__monitor"] * 2,
    ]


@pytest.mark.parametrize("states", [("failed", "success"), ("success", "failed")])
def test_one_failed_retraining_of_two_fails_the_story(play, states):
    outcomes = {
        f"train_for_after_{day}": [state]
        for day, state in zip((FIRST, SECOND), states, strict=True)
    }
    airflow = FakeAirflow(alarms=LAST_TWO, **outcomes)
    story = play(airflow)
    assert not story.succeeded
    retrained = {run: state for (_, run), state in story.states.items() if "for" in run}
    assert tuple(retrained.values()) == states
    assert airflow.retried == []


def test_a_retraining_that_waits_for_another_is_waited_for(play):
    airflow = FakeAirflow(alarms=LAST_TWO)
    airflow.waiting = {("demo__monitor", f"after_{LAST_TWO[1]}"): 1}
    story = play(airflow)
    assert ("demo__train", f"for_after_{LAST_TWO[1]}") in story.states


def test_a_request_that_starts_no_run_fails_the_story(play, capsys):
    airflow = FakeAirflow(alarms=LAST_TWO[1:])
    airflow.started = lambda dag, run, target: (
        [] if target == "demo__train" else FakeAirflow.started(airflow, dag, run, target)
    )
    assert not play(airflow).succeeded
    assert "started no run of demo__train" in capsys.readouterr().out


@pytest.mark.parametrize("failing", [f"monitor_after_{FIRST}", f"train_for_after_{FIRST}"])
def test_what_failed_is_tried_again_when_the_demo_is_started_again(play, failing):
    airflow = FakeAirflow(alarms=LAST_TWO, **{failing: ["failed", "success"]})
    assert not play(airflow).succeeded
    airflow.age()
    assert play(airflow).succeeded
    assert len(airflow.retried) == 1


def test_a_failed_run_of_another_day_is_not_this_nights(play):
    airflow = FakeAirflow()
    airflow.states["demo__monitor", "after_2025-01-01"] = "failed"
    airflow.ended["demo__monitor", "after_2025-01-01"] = YESTERDAY
    assert play(airflow).succeeded
    assert airflow.retried == []


def test_what_is_done_is_not_done_again(play, capsys):
    airflow = FakeAirflow(alarms=LAST_TWO)
    first = play(airflow)
    airflow.age()
    capsys.readouterr()
    assert play(airflow) == first
    assert capsys.readouterr().out.count("done before") == len(first.states)


@pytest.fixture
def api():
    """An Airflow that answers GET with what is in `answers`, by path and query."""
    answers = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, body = answers.get(self.path, (404, {}))
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Airflow(f"http://127.0.0.1:{server.server_port}"), answers
    server.shutdown()
    thread.join()
    server.server_close()


EVENTS = "/api/v2/assets/events?source_dag_id=demo__nightly&source_run_id=demo__2026-01-09"


def test_the_runs_that_events_of_a_run_started_are_found(api):
    airflow, answers = api
    runs = [
        {"dag_id": "demo__monitor", "run_id": "asset_triggered__1"},
        {"dag_id": "other", "run_id": "asset_triggered__2"},
    ]
    events = [{"created_dagruns": runs}, {"created_dagruns": []}, {"created_dagruns": runs[:1]}]
    answers[EVENTS] = (200, {"asset_events": events})
    found = airflow.started("demo__nightly", "demo__2026-01-09", "demo__monitor")
    assert found == ["asset_triggered__1"]


def test_a_run_that_waits_has_not_started_yet(api):
    airflow, answers = api
    answers[EVENTS] = (500, {})
    assert airflow.started("demo__nightly", "demo__2026-01-09", "demo__monitor") == []
