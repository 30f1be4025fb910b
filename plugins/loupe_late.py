"""What happens when a night's deadline is over: `loupe late` says what is missing.

Runs in the triggerer, so the work is that of a child process.
"""

import asyncio
import json
import logging
import sys
from datetime import datetime, timedelta

from airflow.sdk import AsyncCallback, DeadlineAlert, DeadlineReference

log = logging.getLogger(__name__)


def deadline(line: str, minutes: int | None) -> DeadlineAlert | None:
    """The deadline of a line's nights, from when their run was queued; None without one."""
    if minutes is None:
        return None
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(minutes=minutes),
        callback=AsyncCallback("loupe_late.night_is_late", kwargs={"line": line}),
        name=f"{line}: night",
    )


async def night_is_late(line: str, context: dict) -> dict:
    """Write the alert and return what `loupe late` found."""
    day = _day(context["dag_run"])
    command = [sys.executable, "-m", "ml.cli", "late", "--line", line, "--day", day]
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
    output, told = await child.communicate()
    for text in told.decode(errors="replace").splitlines():
        log.warning(text)
    if child.returncode:
        msg = f"loupe late ended with status {child.returncode}"
        raise RuntimeError(msg)
    return json.loads(output.splitlines()[-1])


def _day(run: dict) -> str:
    """The day that a nightly run inspects: as `DAY` of `dags/nightly.py`."""
    asked = (run.get("conf") or {}).get("day")
    moment = datetime.fromisoformat(run.get("logical_date") or run["run_after"])
    return asked or (moment.date() - timedelta(days=1)).isoformat()
