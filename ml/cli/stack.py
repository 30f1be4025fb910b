"""`loupe stack`: the production services as plain processes, for a machine without Docker."""

import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NoReturn

import click

from ml.cli.step import clear_errors
from ml.errors import StackError
from ml.settings import Env, Home

_PROJECT = Path(__file__).parents[2]
_SECONDS_TO_STOP = 90


@click.command()
@click.option("--down", is_flag=True, help="end the stack of this LOUPE_HOME")
def stack(down: bool) -> None:
    """Run Postgres, Redis, S3, Firestore, MLflow, Airflow with Celery workers and the dashboard."""
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    with clear_errors():
        try:
            _down() if down else _up()
        except KeyboardInterrupt:
            print("\nstopped; nothing is left running. What it holds is kept.", flush=True)
            sys.exit(130)


def _up() -> None:
    from ml.services.production import running_stack

    env = Env.read()
    with _only_one(env.home), running_stack(env, _PROJECT) as services:
        where = services.addresses
        results = where.firestore or "NOT Firestore: SQLite (the emulator is not installed, or off)"
        print(
            f"  Airflow   {where.airflow}\n  dashboard {where.dashboard}\n"
            f"  MLflow    {where.mlflow}\n  S3        {where.s3} (bucket `images`)\n"
            f"  results   {results}\n"
            f"  steps     . {Home(env.home).stack / 'env'}\nCtrl-C ends everything.",
            flush=True,
        )
        for said in services.watch():
            if said:
                print(f"  {said}", flush=True)


def _down() -> None:
    """End the command that runs the stack; it ends the services."""
    path = _lock(Env.read().home)
    if not path.exists() or _is_free(path):
        print("no stack of this LOUPE_HOME runs")
        return
    os.kill(int(path.read_text()), signal.SIGTERM)
    deadline = time.monotonic() + _SECONDS_TO_STOP
    while not _is_free(path):
        if time.monotonic() > deadline:
            msg = f"process {path.read_text()} did not end its stack within {_SECONDS_TO_STOP} s"
            raise StackError(msg)
        time.sleep(0.2)
    print("stopped; what it holds is kept")


def _lock(home: Path) -> Path:
    """Locked while a stack runs, and holds the id of the process that runs it."""
    return Home(home).stack / "lock"


@contextmanager
def _only_one(home: Path) -> Iterator[None]:
    path = _lock(home)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        if not _claimed(file):
            msg = f"a stack of {home} runs already; `make stack-down` ends it"
            raise StackError(msg)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _is_free(path: Path) -> bool:
    with path.open() as file:
        return _claimed(file)


def _claimed(file: IO[str]) -> bool:
    """Lock a file until it is closed; False when another process has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
