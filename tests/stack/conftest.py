"""One production stack for all tests of this room, and the tiny line whose images lie in its S3."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import boto3
import psutil
import pytest
from tiny_line import write_squares, write_training_line

from ml.bundle.keys import signing_key
from ml.services.airflow import Airflow
from ml.services.processes import MARK
from ml.services.production import missing
from ml.settings import Home

# In the environment of every process, so that every log could have it.
_CANARY = "canary-5d20c6a81b"
# A killed task is taken over sooner than in production: these tasks take seconds.
_SOON = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
}


@dataclass(frozen=True)
class Running:
    """A stack of `loupe stack`, as the process that somebody started at a terminal."""

    folder: Path
    process: subprocess.Popen[bytes]
    canary: str = _CANARY

    @property
    def home(self) -> Home:
        return Home(self.folder / "home")

    @property
    def log(self) -> Path:
        return self.folder / "stack.log"

    @property
    def airflow(self) -> Airflow:
        found = Airflow(self.addresses["airflow"])
        found.login()
        return found

    @property
    def addresses(self) -> dict[str, str]:
        return json.loads((self.home.root / "stack.json").read_text())

    @property
    def variables(self) -> dict[str, str]:
        """What `. stack/env` sets in a terminal."""
        rows = shlex.split((self.home.root / "stack" / "env").read_text())
        return dict(row.split("=", 1) for row in rows if row != "export")

    def pid(self, service: str) -> int:
        return json.loads((self.home.root / "stack" / "pids.json").read_text())[service]

    def processes(self) -> list[psutil.Process]:
        """Every process of the stack; Postgres hides its variables, but has the folder's name."""
        return [one for one in psutil.process_iter() if self._is_mine(one)]

    def step(self, name: str, command: list[str] | None = None) -> psutil.Process | None:
        """The process of a step that runs now; with `command`, the one of exactly that."""
        for one in self.processes():
            try:
                line = one.cmdline()
                if line[2:4] == ["ml.cli", name] and command in (None, line):
                    return one
            except psutil.Error:
                continue
        return None

    def _is_mine(self, process: psutil.Process) -> bool:
        try:
            marked = process.environ().get(MARK) == str(self.home.root)
            return marked or str(self.home.root) in " ".join(process.cmdline())
        except (psutil.Error, OSError):
            return False


@pytest.fixture(scope="package")
def folder():
    """A folder that the user `postgres`, who runs the server when we are root, may enter."""
    path = Path(tempfile.mkdtemp(prefix="loupe-stack-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="package")
def stack(project, folder):
    """The running stack, with a line `tiny` over sixty images in S3; ended as by Ctrl-C."""
    lacking = missing()
    if lacking:
        pytest.skip(f"the production stack is NOT tested: {', '.join(lacking)}")
    lines = folder / "lines"
    write_training_line(lines / "tiny.toml", "s3://images/tiny", ("classifier",))
    home = folder / "home"
    signing_key(Home(home))
    environ = {
        **os.environ, **_SOON,
        "LOUPE_HOME": str(home), "LOUPE_LINES": str(lines), "LOUPE_THREADS": "1",
        "LOUPE_TOKEN": _CANARY,
    }  # fmt: skip
    environ.pop("LOUPE_RESULTS", None)
    with (folder / "stack.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "ml.cli", "stack"],
            cwd=project, env=environ, stdout=output, stderr=output,
        )  # fmt: skip
    running = Running(folder, process)
    try:
        _wait_until_ready(running)
        _upload(running, folder / "source")
        yield running
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(90)
        left = running.processes()
        names = [one.name() for one in left]
        for one in left:
            one.kill()
    assert names == [], "a stack that was ended by Ctrl-C left processes behind"


def _wait_until_ready(stack: Running) -> None:
    deadline = time.monotonic() + 240
    while not (stack.home.root / "stack.json").exists():
        assert stack.process.poll() is None, stack.log.read_text()
        assert time.monotonic() < deadline, stack.log.read_text()
        time.sleep(0.2)


def _upload(stack: Running, source: Path) -> None:
    write_squares(source)
    client = boto3.client(
        "s3",
        endpoint_url=stack.addresses["s3"],
        aws_access_key_id=stack.variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=stack.variables["AWS_SECRET_ACCESS_KEY"],
        region_name=stack.variables["AWS_DEFAULT_REGION"],
    )
    for path in sorted(source.rglob("*.png")):
        key = f"tiny/{path.relative_to(source)}"
        client.put_object(Bucket="images", Key=key, Body=path.read_bytes())
