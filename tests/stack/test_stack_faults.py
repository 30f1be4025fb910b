"""The main job on the production services, while they are killed one after the other.

What it leaves is compared, byte for byte, with what the same commands leave undisturbed.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from undisturbed import DAY, LEARNED

from ml.audit import ledger
from ml.data import predicted
from ml.results import open_results
from ml.settings import Env, Home

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(900)]

# Seconds until a step must run: a message that a killed worker held comes again after 300.
_RECOVERED = 420
_COLLECTIONS = ("lines", "runs", "shards", "nights", "parts")
# Whatever a night or a training leaves in the home, but for logs, caches and tables of Delta Lake,
# whose files have random names: their rows are compared.
_FOLDERS = ("objects", "datasets", "bundles", "live", "nights", "ledger")
# The gate's sentence about the time of an image: no two runs of a machine measure the same.
_MEASURED = re.compile(r"[0-9.]+ ms an image")


class Job:
    """The DAG runs of the main job on a stack, and what happens to its services meanwhile."""

    def __init__(self, stack) -> None:
        self.stack = stack
        self.said: list[str] = []

    def start(self, name: str, conf: dict[str, str]) -> tuple[str, str]:
        dag, run = f"tiny__{name}", "main"
        self._when(lambda: self.stack.airflow.has_dag(dag), f"{dag} is read")
        self.stack.airflow.unpause(dag)
        self.stack.airflow.trigger(dag, run, conf)
        return dag, run

    def finish(self, dag: str, run: str) -> None:
        began = time.monotonic()
        self._when(lambda: self._state(dag, run) in ("success", "failed"), f"{dag} ends", 300)
        tasks = self.stack.airflow.tasks(dag, run)
        states = {f"{t['task_id']}[{t['map_index']}]": t["state"] for t in tasks}
        assert self._state(dag, run) == "success", states
        self._say(f"{dag} succeeded {time.monotonic() - began:.0f} s later")

    def tries(self, dag: str, run: str, task: str) -> int:
        tasks = self.stack.airflow.tasks(dag, run)
        return max(one["try_number"] for one in tasks if one["task_id"] == task)

    def when_step_runs(
        self, name: str, path: Path | None = None, command: list[str] | None = None
    ) -> list[str]:
        """The command of a step, as soon as it runs and, where one is given, `path` is there.

        With `command`, as soon as exactly that runs: a step is tried again while others run.
        """
        found = []

        def runs() -> bool:
            step = self.stack.step(name, command)
            found[:] = [] if step is None else [step.cmdline()]
            return bool(found) and (path is None or any(path.parent.glob(path.name)))

        self._when(runs, f"step {name} runs", _RECOVERED)
        return found[0]

    def kill(self, service: str, *, below: bool) -> None:
        """SIGKILL to a service; with `below` also to all that it started: its machine dies."""
        process = psutil.Process(self.stack.pid(service))
        self._kill(service, [process, *(process.children(recursive=True) if below else [])])

    def kill_below(self, service: str) -> None:
        """SIGKILL to all that a service started, as the system does when memory runs out."""
        self._kill(
            f"what {service} runs",
            psutil.Process(self.stack.pid(service)).children(recursive=True),
        )

    def _kill(self, what: str, victims: list[psutil.Process]) -> None:
        for victim in victims:
            victim.send_signal(signal.SIGKILL)
        # Nobody may collect the exit of those whose parent died, too.
        self._when(lambda: not any(map(_is_alive, victims)), f"{what} is gone", 10)
        self._say(f"SIGKILL to {what}, {len(victims)} processes")

    def restart(self, service: str, how: signal.Signals) -> None:
        """End a service in order and wait until the stack has started it again."""
        before = self.stack.pid(service)
        os.kill(before, how)
        self._when(lambda: self.stack.pid(service) != before, f"{service} is started again")
        self._say(f"{service} restarted")

    def _state(self, dag: str, run: str) -> str:
        return (self.stack.airflow.run(dag, run) or {}).get("state", "")

    def _when(self, moment, what: str, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                if moment():
                    return
            except Exception as error:  # noqa: BLE001 - Airflow cannot answer without its database
                what = f"{what} ({error})"
            assert time.monotonic() < deadline, f"not so: {what}\n{self.stack.log.read_text()}"
            time.sleep(0.2)

    def _say(self, text: str) -> None:
        self.said.append(text)
        print(f"  {text}")


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="module")
def homes(stack, folder):
    """The homes of the main job with a fault in every part of it, and of the same undisturbed."""
    job = Job(stack)
    ingest = job.start("ingest", {"until": DAY})
    job.when_step_runs("ingest")
    job.restart("redis", signal.SIGTERM)
    job.finish(*ingest)

    train = job.start("train", {"until": LEARNED})
    job.when_step_runs("train", stack.home.root / "training" / "tiny" / "*")
    job.kill("worker-gpu", below=True)
    job.kill("scheduler", below=False)
    # While nothing but time passes here.
    plain, undisturbed = _start_undisturbed(stack, folder)
    job.finish(*train)
    assert job.tries(*train, "train") == 2

    night = job.start("nightly", {"day": DAY})
    shard = job.when_step_runs("predict")
    job.kill_below("worker-gpu")
    job.when_step_runs("predict", command=shard)
    job.kill("worker-gpu", below=True)
    job.when_step_runs("publish")
    job.kill("worker-default", below=True)
    job.restart("postgres", signal.SIGINT)
    job.finish(*night)
    assert job.tries(*night, "predict") == 3
    assert job.tries(*night, "publish") == 2
    assert undisturbed.wait(120) == 0, (folder / "undisturbed.log").read_text()
    return stack.home, plain


def _start_undisturbed(stack, folder: Path) -> tuple[Home, subprocess.Popen[bytes]]:
    """The same commands at a terminal, with the same key; results and MLflow on SQLite."""
    home = folder / "undisturbed"
    shutil.copytree(stack.home.root / "keys", home / "keys")
    environ = {
        **os.environ, **stack.variables,
        "LOUPE_HOME": str(home), "LOUPE_RESULTS": "sqlite",
        "LOUPE_MLFLOW": f"sqlite:///{home / 'mlflow.db'}",
    }  # fmt: skip
    with (folder / "undisturbed.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("undisturbed.py")],
            env=environ, stdout=output, stderr=output,
        )  # fmt: skip
    return Home(home), process


def test_after_every_fault_nothing_is_lost_doubled_or_different(stack, homes, monkeypatch):
    for name, value in stack.variables.items():
        monkeypatch.setenv(name, value)
    home, plain = homes
    mine = _everything(home, open_results(Env.read(), home))
    theirs = _everything(plain, open_results(Env.read({"LOUPE_HOME": str(plain.root)}), plain))
    differing = [key for key in sorted(mine | theirs) if mine.get(key) != theirs.get(key)]
    kinds = Counter(key.split(":")[0] for key in theirs)
    print(f"\n  compared byte for byte: {dict(kinds)}; different: {differing or 'none'}")
    assert differing == []
    assert kinds["row"] == 12
    assert kinds["document"] >= 6


def test_secrets_stand_in_no_log_and_no_command_line(stack):
    """Also not in Airflow's own logs of the tasks, which had every fault above to complain of."""
    held = stack.home.root / "stack"
    secrets = [path.read_text() for path in held.rglob("*") if path.name == "password"]
    secrets += [path.read_text() for path in held.rglob("*.secret")]
    assert len(secrets) >= 5
    logs = [stack.log, *stack.home.root.rglob("*.log")]
    assert [path for path in logs if "task_id=predict" in str(path)], "no log of a task"
    shown = {str(path): path.read_text(errors="replace") for path in logs}
    for process in stack.processes():
        shown[f"{process.name()} {process.pid}"] = " ".join(process.cmdline())
    searched = [*secrets, stack.canary]
    assert not [name for name, text in shown.items() if any(one in text for one in searched)]


def _everything(home: Home, store) -> dict[str, str]:
    """All files, documents and inspected images, by name, as digests or canonical text."""
    found = {
        f"file:{path.relative_to(home.root)}": hashlib.sha256(_content(path)).hexdigest()
        for folder in _FOLDERS
        for path in (home.root / folder).rglob("*")
        # What an index holds beside a bundle's name are measured times.
        if path.is_file() and path.parent.name != "index"
    }
    for collection in _COLLECTIONS:
        for body in store.find(collection):
            text = _MEASURED.sub("", json.dumps(body, sort_keys=True))
            found[f"document:{collection}/{body['id']}"] = text
    rows = predicted.read(home, "tiny").to_pylist()
    for number, row in enumerate(sorted(rows, key=lambda row: row["sha256"])):
        found[f"row:{number}"] = json.dumps(row, sort_keys=True, default=str)
    return found


def _content(path: Path) -> bytes:
    """A file's bytes; of the ledger of promotions, what no clock made."""
    if path.name != "promotions.jsonl":
        return path.read_bytes()
    return json.dumps([entry | {"at": None} for entry in ledger.entries(path)]).encode()
