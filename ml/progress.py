"""Progress with an ETA, for a person at a terminal and for the Airflow operator.

With LOUPE_PROGRESS=json each report is one line on stderr, `loupe-progress {...}`, which the step
operator turns into log lines; with `off` nothing is said; otherwise it is one line that redraws
itself.
"""

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

PREFIX = "loupe-progress "
_SECONDS_BETWEEN_REPORTS = 2.0


class Progress:
    """Counts the work of one stage: `with Progress("decode", total) as p: p.step()`.

    `done` of the work was done before, by a process that was interrupted.
    """

    def __init__(self, stage: str, total: int, done: int = 0) -> None:
        self.stage = stage
        self.total = total
        self.done = done
        self._before = done
        self._started = time.monotonic()
        self._reported = 0.0

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._report()
        if _is_seen():
            sys.stderr.write("\n")

    def step(self, count: int = 1) -> None:
        """Count `count` more items as done; reports at most every two seconds."""
        self.done += count
        if time.monotonic() - self._reported >= _SECONDS_BETWEEN_REPORTS:
            self._report()

    @property
    def eta_s(self) -> float | None:
        """Seconds left at the speed so far; None before the first item is done."""
        if self.done == self._before:
            return None
        elapsed = time.monotonic() - self._started
        return elapsed / (self.done - self._before) * max(self.total - self.done, 0)

    def _report(self) -> None:
        self._reported = time.monotonic()
        left = self.eta_s
        if _as_json():
            eta_s = None if left is None else round(left, 1)
            report = {"stage": self.stage, "done": self.done, "total": self.total, "eta_s": eta_s}
            print(PREFIX + json.dumps(report), file=sys.stderr, flush=True)
        elif _is_seen():
            shown = "?" if left is None else f"{left:.0f} s"
            sys.stderr.write(f"\r\033[K{self.stage}: {self.done}/{self.total}, {shown} left")
            sys.stderr.flush()


def track(items: Iterable[Item], stage: str, total: int) -> Iterator[Item]:
    """Yield `items`, counting each as done when the next one is asked for."""
    with Progress(stage, total) as progress:
        for item in items:
            yield item
            progress.step()


def _as_json() -> bool:
    return os.environ.get("LOUPE_PROGRESS") == "json"


def _is_seen() -> bool:
    return "LOUPE_PROGRESS" not in os.environ and sys.stderr.isatty()
