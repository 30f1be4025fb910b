"""Follow one DAG run in the terminal: its tasks, how far they are, and how long it may take."""

import sys
import time
from typing import Any

from ml.errors import StackError
from ml.services.airflow import Airflow

_SECONDS_BETWEEN_LOOKS = 2.0
_SECONDS_WITHOUT_ANSWER = 120.0
_DONE = ("success", "skipped", "failed", "upstream_failed", "removed")

# What a run of each DAG of the demo line takes on two cores, for the first estimate.
_USUAL_SECONDS = {"ingest": 35, "train": 200, "nightly": 45, "monitor": 40}


def follow(airflow: Airflow, dag: str, run: str, label: str) -> str:
    """Wait until a run has ended and return its state; redraws one line while it waits.

    Raises StackError when Airflow stops answering for two minutes.
    """
    started = answered = time.monotonic()
    state, tasks = "queued", list[dict[str, Any]]()
    while state not in ("success", "failed"):
        try:
            state = (airflow.run(dag, run) or {}).get("state", "queued")
            tasks = airflow.tasks(dag, run)
            answered = time.monotonic()
        except StackError:
            # A busy machine may keep Airflow from answering for a while.
            if time.monotonic() - answered > _SECONDS_WITHOUT_ANSWER:
                raise
        _show(label, dag, tasks, time.monotonic() - started)
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    _finish(label, state, tasks, time.monotonic() - started)
    return state


def _show(label: str, dag: str, tasks: list[dict[str, Any]], elapsed: float) -> None:
    if not sys.stdout.isatty():
        return
    ended = sum(task["state"] in _DONE for task in tasks)
    running = ", ".join(sorted({t["task_id"] for t in tasks if t["state"] == "running"}))
    left = max(_USUAL_SECONDS.get(dag.rsplit("__", 1)[-1], 60) - elapsed, 0)
    eta = f"about {left:.0f} s left" if left else f"{elapsed:.0f} s so far"
    sys.stdout.write(
        f"\r\033[K  … {label}: {ended}/{len(tasks)} tasks, {running or 'waiting'}, {eta}"
    )
    sys.stdout.flush()


def _finish(label: str, state: str, tasks: list[dict[str, Any]], elapsed: float) -> None:
    clear = "\r\033[K" if sys.stdout.isatty() else ""
    sign = "✓" if state == "success" else "✗"
    failed = sorted({task["task_id"] for task in tasks if task["state"] == "failed"})
    why = f"; failed: {', '.join(failed)}" if failed else ""
    print(f"{clear}  {sign} {label}: {state} in {elapsed:.0f} s{why}", flush=True)
