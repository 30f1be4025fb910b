"""The step operator: streams, returns the JSON result, fails clearly, and kills on cancel."""

import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "plugins"))

from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowFailException
from loupe_step import LoupeStepOperator, readable


@pytest.fixture
def operator(tmp_path, monkeypatch):
    """An operator whose `ml.cli` is a script of the test."""

    def make(script, **options):
        package = tmp_path / "ml"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "cli.py").write_text(script)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        return LoupeStepOperator(task_id="t", step="train", line="demo", options=options)

    return make


def test_the_last_line_of_output_is_the_result_and_options_are_passed(operator, capsys):
    script = (
        "import json, sys\n"
        "print('loupe-progress ' + json.dumps(dict(stage='fit', done=1, total=4, eta_s=9.0)),"
        " file=sys.stderr)\n"
        "print('noise'); print(json.dumps(sys.argv[1:]))\n"
    )
    found = operator(script, dataset="d1", empty="", none=None).execute({})
    assert found == ["train", "--line", "demo", "--dataset", "d1"]
    assert "fit: 1 of 4, 9 s left" in capsys.readouterr().out


def test_a_result_is_whole_and_its_log_holds_no_secret(operator, capsys):
    script = "import json; print(json.dumps({'reasons': [\"password='abc\"], 'z': 1}))"
    found = operator(script).execute({})
    assert found == {"reasons": ["password='abc"], "z": 1}
    log = capsys.readouterr().out
    assert "reasons" in log
    assert "abc" not in log


def test_the_state_of_an_asset_is_handed_over_and_kept(operator):
    images = Asset(name="demo__images", uri="loupe://demo/images")
    script = (
        "import json, sys\n"
        "state = json.loads(sys.argv[sys.argv.index('--state') + 1])\n"
        "print(json.dumps({'state': {'full_at': state.get('full_at', 0) + 1}}))\n"
    )
    make = operator(script)
    task = LoupeStepOperator(task_id="i", step="ingest", line="demo", state_of=images)
    assert task.inlets == [images]
    kept = {}

    class Store:
        def get(self, key, default):
            return kept.get(key, default)

        def set(self, key, value):
            kept[key] = value

    for number in (1, 2):
        task.execute({"asset_state_store": {images: Store()}})
        assert kept == {"listing": {"full_at": number}}
    assert make.inlets == []


def test_bad_input_fails_at_once_with_the_message(operator):
    script = "import sys; print('loupe: no line', file=sys.stderr); sys.exit(2)"
    with pytest.raises(AirflowFailException, match="loupe: no line"):
        operator(script).execute({})


@pytest.mark.parametrize(("tries", "error"), [(2, RuntimeError), (3, AirflowFailException)])
def test_a_crash_is_an_error_that_two_retries_may_cure(operator, tries, error):
    with pytest.raises(error, match=r"ended with status 1: .*ZeroDivisionError"):
        operator("1 / 0").execute({"ti": SimpleNamespace(try_number=tries, max_tries=12)})


def test_a_killed_child_is_retried_as_often_as_the_task_allows(operator):
    script = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    with pytest.raises(RuntimeError, match="ended with status -9"):
        operator(script).execute({"ti": SimpleNamespace(try_number=9, max_tries=12)})


def test_a_service_that_did_not_answer_is_retried(operator):
    script = "import sys; print('loupe: MLflow is silent', file=sys.stderr); sys.exit(75)"
    with pytest.raises(RuntimeError, match="ended with status 75: loupe: MLflow is silent"):
        operator(script).execute({"ti": SimpleNamespace(try_number=9, max_tries=12)})


def test_cancelling_ends_the_step_and_its_children(operator):
    script = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, file=sys.stderr, flush=True)\n"
        "time.sleep(600)\n"
    )
    step = operator(script)
    thread = threading.Thread(target=_run_to_its_end, args=(step,))
    thread.start()
    while step._child is None or not psutil.Process(step._child.pid).children():
        time.sleep(0.05)
    children = psutil.Process(step._child.pid).children(recursive=True)
    step.on_kill()
    thread.join(30)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    assert not thread.is_alive()


def _run_to_its_end(step):
    with pytest.raises(RuntimeError, match="ended with status -15"):
        step.execute({})


def test_progress_is_readable():
    assert readable('{"stage": "decode", "done": 5, "total": 10, "eta_s": null}') == (
        "decode: 5 of 10"
    )


@pytest.mark.parametrize(("number", "said"), [(1, "0"), (2, "0"), (3, "1")])
def test_the_step_is_told_that_no_retry_follows(operator, number, said):
    script = "import json, os; print(json.dumps(os.environ['LOUPE_LAST_TRY']))"
    task = SimpleNamespace(try_number=number, max_tries=2)
    assert operator(script).execute({"ti": task}) == said
