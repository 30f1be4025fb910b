"""The main job through a real Airflow: it ends well, repeats without adding, survives SIGKILL."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from tiny_line import write_squares, write_training_line

from ml.data import predicted
from ml.services.processes import MARK, end_processes
from ml.settings import Home

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(900)]

# The gate's sentence about the time of an image: no two runs of a machine measure the same.
_MEASURED = re.compile(r"[0-9.]+ ms an image")


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """A line file over sixty small pictures, a third with a bright square."""
    folder = tmp_path_factory.mktemp("tiny-line")
    write_squares(folder / "source")
    return write_training_line(folder / "lines" / "tiny.toml", str(folder / "source"))


class Run:
    """One `loupe demo --once` as a process, in a home."""

    def __init__(self, project: Path, line: Path, home: Path) -> None:
        self.home = home
        self.log = home.with_suffix(".log")
        self.left_over: set[int] = set()
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ml.cli", "demo", "--once", "--line", "tiny"],
                cwd=project,
                stdout=output,
                stderr=output,
                env={
                    **os.environ,
                    "LOUPE_HOME": str(home),
                    "LOUPE_LINES": str(line.parent),
                    "LOUPE_THREADS": "1",
                },
            )

    def finish(self) -> int:
        return self.process.wait(600)

    def kill_when(self, moment) -> None:
        """SIGKILL the demo and everything that it started, as a power cut would."""
        deadline = time.monotonic() + 300
        while not moment():
            assert self.process.poll() is None, self.log.read_text()[-2000:]
            assert time.monotonic() < deadline, "the moment never came"
            time.sleep(0.05)
        marked = [one for one in psutil.process_iter() if self._is_mine(one)]
        self.process.kill()
        self.process.wait()
        for one in marked:
            try:
                one.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(marked, timeout=10)

    def _is_mine(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(MARK) == str(self.home)
        except (psutil.Error, OSError):
            return False


def _everything(home: Path) -> dict[str, Any]:
    """All documents and all predictions, by name; the gate's measured time is left out."""
    with sqlite3.connect(home / "results.db") as connection:
        rows = connection.execute("SELECT collection, id, body FROM documents").fetchall()
    documents = {
        f"{collection}/{name}": json.loads(_MEASURED.sub("", body))
        for collection, name, body in rows
    }
    predictions = predicted.read(Home(home), "tiny").to_pylist()
    return documents | {f"predictions/{row['day']}/{row['sha256']}": row for row in predictions}


def _differences(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """What two homes hold differently: both sides of each record, by its name."""
    keys = one.keys() | other.keys()
    return {
        key: (one.get(key), other.get(key))
        for key in sorted(keys)
        if one.get(key) != other.get(key)
    }


def _services() -> set[int]:
    """All processes of this machine that are called like a service of a stack.

    But not those of rooms that are tested meanwhile.
    """
    words = ("airflow", "mlflow", "-m serving")
    found = (one for one in psutil.process_iter() if any(word in _command(one) for word in words))
    return {one.pid for one in found if not _is_of_other_tests(one)}


def _is_of_other_tests(process: psutil.Process) -> bool:
    """Whether another pytest started it. What an ended demo leaves behind has lost its parent."""
    try:
        above = [one for one in process.parents() if one.pid not in (1, os.getpid())]
    except psutil.NoSuchProcess:
        return False
    return any("pytest" in _command(one) for one in above)


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.fixture(scope="module")
def undisturbed(project, line, tmp_path_factory):
    """The home of a demo that nobody disturbed."""
    home = tmp_path_factory.mktemp("undisturbed") / "home"
    before = _services()
    run = Run(project, line, home)
    try:
        assert run.finish() == 0, run.log.read_text()[-3000:]
    finally:
        run.left_over = _services() - before
        end_processes(home)
    return run


def test_the_demo_ends_well_and_leaves_nothing_running(undisturbed):
    text = undisturbed.log.read_text()
    assert "every run succeeded" in text
    assert "60 accepted, 0 quarantined, 0 duplicate" in text
    assert undisturbed.left_over == set()
    nights = _everything(undisturbed.home)
    assert {name for name in nights if name.startswith("nights/")} == {
        "nights/tiny__2026-01-08",
        "nights/tiny__2026-01-09",
    }
    assert all(nights[name]["reconciled"] for name in nights if name.startswith("nights/"))


def test_a_second_run_adds_nothing(project, line, undisturbed):
    before = _everything(undisturbed.home)
    again = Run(project, line, undisturbed.home)
    assert again.finish() == 0
    assert _everything(undisturbed.home) == before
    assert "train 2026-01-07: done before" in again.log.read_text()


def test_killed_in_training_and_in_the_night_it_ends_with_the_same_documents(
    project, line, undisturbed, tmp_path
):
    home = tmp_path / "home"
    before = _services()
    try:
        training = Run(project, line, home)
        training.kill_when(lambda: any(home.glob("training/tiny/*/checkpoint.safetensors")))
        night = Run(project, line, home)
        night.kill_when(lambda: (home / "catalog/tiny/predictions/_delta_log").exists())
        last = Run(project, line, home)
        assert last.finish() == 0, last.log.read_text()[-3000:]
    finally:
        end_processes(home)
    assert _differences(_everything(home), _everything(undisturbed.home)) == {}
    assert _services() <= before
