"""`loupe demo`: drive a line's real DAGs through Airflow's REST API, first image to retraining.

Run ids are fixed, so a demo that was interrupted or killed goes on where it stood, and one that
was finished adds nothing.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path

from ml.data import catalog
from ml.data.spread import spread_days
from ml.data.synthetic import demo_days, write_demo_images
from ml.embedded.airflow import Airflow
from ml.embedded.follow import follow
from ml.errors import StackError
from ml.settings import Home, LineConfig

_SECONDS_TO_PARSE = 180
_SECONDS_TO_TRIGGER = 90
_NIGHTS = 2
DEMO_LINE = "demo"


@dataclass
class Story:
    """What happened: the state of each run, in order."""

    states: dict[str, str] = field(default_factory=dict)

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

    def play(self) -> Story:
        """Ingest, train, two nights with their monitoring, and the retraining if one is asked for.

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
            self._retraining(story)
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
        label = f"{name} {what}"
        found = self.airflow.run(dag, run)
        if found is not None and found["state"] == "success":
            print(f"  ✓ {label}: done before", flush=True)
            story.states[label] = "success"
            return True
        if found is None:
            self.airflow.trigger(dag, run, conf)
        elif found["state"] == "failed":
            self.airflow.retry(dag, run)
        story.states[label] = follow(self.airflow, dag, run, label)
        return story.states[label] == "success"

    def _night(self, story: Story, day: str) -> bool:
        return (
            self._drive(story, "ingest", day, {"source": self.source, "until": day})
            and self._drive(story, "nightly", day, {"day": day})
            and self._monitored(story, day)
        )

    def _monitored(self, story: Story, day: str) -> bool:
        """Wait for the monitor run that the night's asset event started."""
        dag, label = self._dag("monitor"), f"monitor {day}"
        deadline = time.monotonic() + _SECONDS_TO_TRIGGER
        while time.monotonic() < deadline:
            for run in self.airflow.runs(dag):
                name, state = run["dag_run_id"], run["state"]
                if state in ("queued", "running"):
                    state = follow(self.airflow, dag, name, label)
                drift = self.airflow.result(dag, name, "drift")
                if state == "failed" or (drift is not None and drift["day"] == day):
                    story.states[label] = state
                    return bool(state == "success")
            time.sleep(2)
        story.states[label] = "failed"
        print(f"  ✗ {label}: the night's event started no run of {dag}", flush=True)
        return False

    def _retraining(self, story: Story) -> None:
        """Wait for the train runs that alarms have started."""
        asked = [str(drift["day"]) for drift in self._drifts() if drift["retrain"]]
        if not asked:
            return
        label = f"retraining after {', '.join(asked)}"
        dag = self._dag("train")
        deadline = time.monotonic() + _SECONDS_TO_TRIGGER
        while time.monotonic() < deadline:
            runs = [run for run in self.airflow.runs(dag) if run["run_type"] == "asset_triggered"]
            for run in runs:
                story.states[label] = follow(self.airflow, dag, run["dag_run_id"], label)
            if runs:
                return
            time.sleep(2)
        story.states[label] = "failed"
        print(f"  ✗ {label}: the request started no run of {dag}", flush=True)

    def _drifts(self) -> list[dict[str, object]]:
        dag = self._dag("monitor")
        results = (
            self.airflow.result(dag, run["dag_run_id"], "drift") for run in self.airflow.runs(dag)
        )
        return [result for result in results if result is not None]
