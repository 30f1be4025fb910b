"""`loupe demo`: the whole of Loupe on one machine."""

import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

import click

from ml.cli.step import clear_errors, line_file
from ml.errors import SettingsError

_PROJECT = Path(__file__).parents[2]


@click.command()
@click.option("--line", "line_name", default="demo", help="line name, or path of a line file")
@click.option("--data", help="folder or s3:// address; default: the line's own source")
@click.option("--once", is_flag=True, help="end when the last run has ended")
def demo(line_name: str, data: str | None, once: bool) -> None:
    """Start everything on loopback and run a line from the first image to retraining."""
    # Also where a shell started this in the background with SIGINT ignored.
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    with clear_errors():
        try:
            succeeded = _run(line_name, data, once)
        except KeyboardInterrupt:
            print("\nstopped; nothing is left running. The same command goes on from here.")
            sys.exit(130)
    sys.exit(0 if succeeded else 1)


def _run(line_name: str, data: str | None, once: bool) -> bool:
    from ml.embedded.demo import Demo
    from ml.embedded.stack import running_stack
    from ml.embedded.summary import summary
    from ml.results import open_results
    from ml.services.airflow import Airflow
    from ml.settings import Env, Home, load_line

    env = Env.read()
    home = Home.of(env)
    path = line_file(env, line_name)
    line = load_line(path)
    _check_folder(path, env.lines)
    source = _absolute(data or line.source.uri)
    if data and not source.startswith("s3://") and not Path(source).is_dir():
        msg = f"{data}: no such folder; `--data` (DATA=) names where the line's images lie"
        raise SettingsError(msg)
    started = time.monotonic()
    print(f"Loupe demo: {line.title}\n  … starting Airflow, MLflow and the dashboard", flush=True)
    with running_stack(env, _PROJECT) as addresses:
        print(f"  ✓ services are up after {time.monotonic() - started:.0f} s", flush=True)
        story = Demo(home, line, source, Airflow(addresses.airflow)).play()
        print(summary(home, line, open_results(env, home), addresses))
        minutes = (time.monotonic() - started) / 60
        word = "every run succeeded" if story.succeeded else "NOT every run succeeded"
        print(f"\n{word}, {minutes:.1f} minutes", flush=True)
        if not once:
            print("Ctrl-C ends everything.", flush=True)
            while True:
                time.sleep(3600)
    return story.succeeded


def _check_folder(path: Path, lines: Path) -> None:
    folder = path.resolve().parent
    if folder != lines.resolve():
        msg = (
            f"{path}: Airflow makes DAGs for the line files in {lines} only; put the file there, "
            f"or set LOUPE_LINES={folder}"
        )
        raise SettingsError(msg)


def _absolute(source: str) -> str:
    return source if source.startswith("s3://") else str(Path(source).absolute())


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
