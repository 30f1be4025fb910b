"""`loupe demo`: drive a line's real DAGs through Airflow's REST API, first image to retraining.

Run ids are fixed, so a demo that was interrupted or killed goes on where it stood, and one that
was finished adds nothing.
"""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ml.data import catalog
from ml.data.spread import spread_days
from ml.data.synthetic import demo_days, write_demo_images
from ml.embedded.follow import follow
from ml.errors import StackError
from ml.services.airflow import Airflow
from ml.settings import Home, LineConfig

_SECONDS_TO_PARSE = 180
_SECONDS_TO_TRIGGER = 90
_SECONDS_BETWEEN_LOOKS = 2
_NIGHTS = 2
DEMO_LINE = "demo"
REQUEST = "request_retraining"


@dataclass
class Story:
    """What happened: the state of each run, by DAG and run id, in order."""

    states: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def succeeded(self) -> bool:
        return bool(self.states) and set(self.states.values()) == {"success"}


@dataclass(frozen=True)
class Demo:
    """One line, its source, and the Airflow that runs it."""

    home: Home
    line: LineConfig
    source: str
    airflow: Airflow
    began: datetime = field(default_factory=lambda: datetime.now(UTC))

    def play(self) -> Story:
        """Ingest, train, two nights with their monitoring, and every retraining asked for.

        Stops at the first run that fails.
        """
        story = Story()
        self._prepare()
        days = self._days(story)
        if not days:
            return story
        nights = days[-_NIGHTS:] if len(days) > _NIGHTS else days[-1:]
        learned = days[-len(nights) - 1] if len(days) > len(nights) else days[-1]
        source = {"source": self.source, "until": learned}
        done = self._drive(story, "ingest", learned, source)
        done = done and self._drive(story, "train", learned, {"until": learned})
        if done and all(self._night(story, day) for day in nights):
            for day in nights:
                self._retraining(story, day)
        return story

    def _prepare(self) -> None:
        if (
            self.line.name == DEMO_LINE
            and Path(self.source) == Path(self.line.source.uri).absolute()
        ):
            written, kept = write_demo_images(Path(self.source), self.line.seed)
            print(f"  ✓ demo images: {written} made, {kept} there already", flush=True)
        self.airflow.login()
        self.airflow.ensure_pool("gpu", 1)
        deadline = time.monotonic() + _SECONDS_TO_PARSE
        for name in ("ingest", "train", "nightly", "monitor"):
            while not self.airflow.has_dag(self._dag(name)):
                if time.monotonic() > deadline:
                    msg = f"Airflow did not read {self._dag(name)}; see logs/dag-processor.log"
                    raise StackError(msg)
                time.sleep(1)
            self.airflow.unpause(self._dag(name))

    def _days(self, story: Story) -> list[str]:
        """The days of the line; where only the images know, all of them are ingested first."""
        if self.line.source.spread is not None:
            return spread_days(self.line.source.spread)
        if self.line.name == DEMO_LINE:
            return demo_days()
        if not self._drive(story, "ingest", "all", {"source": self.source}):
            return []
        return sorted(set(catalog.read_images(self.home, self.line.name)["day"].to_pylist()))

    def _dag(self, name: str) -> str:
        return f"{self.line.name}__{name}"

    def _drive(self, story: Story, name: str, what: str, conf: dict[str, str]) -> bool:
        """Start a run, or go on with the one of the same id; True when it succeeded."""
        dag, run = self._dag(name), f"demo__{what}"
        if self.airflow.run(dag, run) is None:
            self.airflow.trigger(dag, run, conf)
        return self._finish(story, dag, run, f"{name} {what}")

    def _finish(self, story: Story, dag: str, run: str, label: str) -> bool:
        """Wait for the end of a run; one that failed in an earlier demo is tried again."""
        found = self.airflow.run(dag, run) or {}
        state = self._earlier_end(found)
        if state == "success":
            print(f"  ✓ {label}: done before", flush=True)
        else:
            if state == "failed":
                self.airflow.retry(dag, run)
            state = follow(self.airflow, dag, run, label)
        story.states[dag, run] = state
        return state == "success"

    def _earlier_end(self, run: dict[str, Any]) -> str:
        """How a run ended before this demo began; empty when it did not."""
        ended = run.get("end_date")
        if run.get("state") not in ("success", "failed") or ended is None:
            return ""
        return str(run["state"]) if datetime.fromisoformat(ended) < self.began else ""

    def _night(self, story: Story, day: str) -> bool:
        return (
            self._drive(story, "ingest", day, {"source": self.source, "until": day})
            and self._drive(story, "nightly", day, {"day": day})
            and self._started(story, ("nightly", f"demo__{day}"), "monitor", f"monitor {day}")
        )

    def _retraining(self, story: Story, day: str) -> None:
        """Wait for the train runs that alarms of a night have asked for."""
        monitor = self._dag("monitor")
        for run in self.airflow.started(self._dag("nightly"), f"demo__{day}", monitor):
            tasks = self.airflow.tasks(monitor, run)
            if any(t["task_id"] == REQUEST and t["state"] == "success" for t in tasks):
                self._started(story, ("monitor", run), "train", f"retraining after {day}")

    def _started(self, story: Story, by: tuple[str, str], name: str, label: str) -> bool:
        """Wait for the runs of a DAG that the asset events of a run start, and for their end."""
        source, dag = (self._dag(by[0]), by[1]), self._dag(name)
        deadline = time.monotonic() + _SECONDS_TO_TRIGGER
        while not (runs := self.airflow.started(*source, dag)):
            # One run of a DAG at a time: what was asked for begins when the one before has ended.
            if self.airflow.busy(dag):
                deadline = time.monotonic() + _SECONDS_TO_TRIGGER
            elif time.monotonic() > deadline:
                story.states[dag, f"after {by[1]}"] = "failed"
                print(f"  ✗ {label}: the event of {by[1]} started no run of {dag}", flush=True)
                return False
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        succeeded = [self._finish(story, dag, run, label) for run in runs]
        return all(succeeded)
