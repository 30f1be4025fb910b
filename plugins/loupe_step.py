"""The step operator: runs one `loupe` command as a child process.

No heavy library is ever imported by Airflow: the child has its own memory, is killed with all its
children on cancel, and its small JSON result goes to XCom.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

from airflow.sdk import Asset, BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from ml.masking import masked

PROGRESS = "loupe-progress "
BAD_INPUT = 2
TEMPORARY = 75
# A bug does not pass with an outage; but one of memory or a race may be cured by another try.
_TRIES_OF_A_CRASH = 3
_SECONDS_TO_STOP = 10


class LoupeStepOperator(BaseOperator):
    """Run `loupe <step> --line <line> [options]` and return its JSON result.

    Options whose value renders empty are left out. Exit status 2 is bad input, which no retry
    cures, so the task fails at once. 75 (a service did not answer) and a killed child are retried
    as often as the task allows; another status, that of a bug, is final from the third try on.
    The state of the asset `state_of` is handed to the step, and set to what it gives back.
    """

    template_fields: Sequence[str] = ("options",)
    ui_color = "#e8f1f8"

    def __init__(
        self,
        *,
        step: str,
        line: str,
        options: dict[str, Any] | None = None,
        state_of: Asset | None = None,
        **kwargs: Any,
    ) -> None:
        if state_of is not None:
            kwargs["inlets"] = [state_of]  # else Airflow gives no access to its state
        super().__init__(**kwargs)
        self.state_of = state_of
        self.step = step
        self.line = line
        self.options = options or {}
        self._child: subprocess.Popen[str] | None = None

    def execute(self, context: Any) -> Any:
        command = [sys.executable, "-m", "ml.cli", self.step, "--line", self.line]
        options = dict(self.options)
        state = None if self.state_of is None else context["asset_state_store"][self.state_of]
        if state is not None:
            options["state"] = json.dumps(state.get("listing", default={}))
        for name, value in options.items():
            if value not in (None, "", "None"):
                command += [f"--{name}", str(value)]
        self.log.info("%s", masked(" ".join(command[2:])))
        self._child = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ
            | {"LOUPE_PROGRESS": "json", "PYTHONUNBUFFERED": "1"}
            | {"LOUPE_LAST_TRY": "1" if _is_last_try(context) else "0"},
            start_new_session=True,
        )
        result = self._result(self._child, context)
        if state is not None and result["state"]:
            state.set("listing", result["state"])
        return result

    def on_kill(self) -> None:
        """Stop the child and all its children: first kindly, then not."""
        if self._child is None or self._child.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGTERM)
            try:
                self._child.wait(_SECONDS_TO_STOP)
            except subprocess.TimeoutExpired:
                os.killpg(self._child.pid, signal.SIGKILL)

    def _result(self, child: subprocess.Popen[str], context: Any) -> Any:
        assert child.stdout is not None
        last_words: list[str] = []
        reader = threading.Thread(target=self._follow, args=(child.stderr, last_words))
        reader.start()
        output = child.stdout.read()
        status = child.wait()
        reader.join()
        if status == BAD_INPUT:
            raise AirflowFailException("\n".join(last_words))
        if status:
            msg = f"loupe {self.step} ended with status {status}: {' '.join(last_words[-3:])}"
            is_crash = status > 0 and status != TEMPORARY
            if is_crash and _try_number(context) >= _TRIES_OF_A_CRASH:
                raise AirflowFailException(msg)
            raise RuntimeError(msg)
        result = json.loads(output.splitlines()[-1])
        self.log.info("result: %s", masked(json.dumps(result))[:2000])
        return result

    def _follow(self, stream: Any, last_words: list[str]) -> None:
        for text in stream:
            line = text.rstrip()
            if line.startswith(PROGRESS):
                self.log.info(readable(line.removeprefix(PROGRESS)))
            elif line:
                self.log.info(line)
                last_words.append(line)
                del last_words[:-20]


def _is_last_try(context: Any) -> bool:
    """Whether no retry follows: only the operator knows, and a night must end with every part."""
    task = context.get("ti")
    return task is not None and task.try_number > task.max_tries


def _try_number(context: Any) -> int:
    task = context.get("ti")
    return 1 if task is None else int(task.try_number)


def readable(report: str) -> str:
    """`{"stage": "decode", "done": 5, ...}` as `decode: 5 of 10, 12 s left`."""
    facts = json.loads(report)
    eta = facts["eta_s"]
    left = "" if eta is None else f", {eta:.0f} s left"
    return f"{facts['stage']}: {facts['done']} of {facts['total']}{left}"
