"""Run the demo on the real lines and write one row for each into RESULTS.md.

    python bench/real_lines.py [line ...]

Each line runs through the real Airflow in a home of its own (`.loupe-bench/<line>`), so a second
call resumes. Needs the images and weights that the line files name. Where the gate leaves the first
bundle to a person, as it does with few groups, this promotes it as a person would and repeats the
nights, which until then held every part.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from result_tables import put

from ml.results import Document, ResultStore, open_results
from ml.settings import Env, Home, load_line

PROJECT = Path(__file__).parents[1]
HOMES = PROJECT / ".loupe-bench"
LINES = ("kolektor_sdd", "casting", "magnetic_tile")
FIGURES = ("fused.auroc", "fused.escape", "fused.overkill", "fused.review_rate")


def run(name: str) -> tuple[int, float]:
    """Exit status and minutes of one demo, with what a person does after it."""
    started = time.monotonic()
    source = str(PROJECT / load_line(PROJECT / "lines" / f"{name}.toml").source.uri)
    status = loupe("demo", name, "--once", "--data", source)
    for command in [] if status else left_to_a_person(name):
        status = status or loupe(command[0], name, *command[1:])
    return status, (time.monotonic() - started) / 60


def left_to_a_person(name: str) -> list[tuple[str, ...]]:
    """The commands that promote a bundle which the gate left to a person, where none is live, and
    that repeat the nights which had no bundle."""
    store, where = _store(name), {"line": name}
    live = (store.get("lines", name) or {}).get("bundle")
    left = [
        str(run["bundle"])
        for run in store.find("runs", where)
        if any("a person must promote it" in reason for reason in run["reasons"])
    ]
    if not live and not left:
        return []
    promotion = [] if live else [("promote", "--bundle", left[-1], "--by", "bench/real_lines.py")]
    nights = store.find("nights", where)
    days = [str(night["day"]) for night in nights if not night["bundle"]]
    steps = ("shards", "predict", "publish", "reconcile", "drift")
    return [*promotion, *((step, "--day", day) for day in days for step in steps)]


def loupe(step: str, name: str, *options: str) -> int:
    """Run a command of a line in its home; returns its exit status."""
    done = subprocess.run(
        [sys.executable, "-m", "ml.cli", step, "--line", name, *options],
        cwd=PROJECT,
        env={**os.environ, "LOUPE_HOME": str(HOMES / name)},
        check=False,
    )
    return done.returncode


def row(name: str, minutes: float) -> str:
    """The table row of a line: figures on held-out test groups, nights, drift."""
    store = _store(name)
    bundle = (store.get("lines", name) or {}).get("bundle", "")
    metrics = (store.get("runs", f"{name}__{bundle}") or {}).get("metrics", {})
    each = [
        f"{model} {shown(metrics[key])}"
        for model in ("classifier", "segmenter", "anomaly")
        if (key := f"{model}.auroc") in metrics
    ]
    nights = store.find("nights", {"line": name})
    verdicts = "; ".join(f"{n['pass']} / {n['review']} / {n['fail']}" for n in nights)
    windows = store.find("windows", {"line": name})
    drifts = ", ".join(dict.fromkeys(filter(None, map(drift, windows))))
    cells = [name, f"{minutes:.1f}", "<br>".join(each), *(shown(metrics.get(f)) for f in FIGURES)]
    return "| " + " | ".join([*cells, verdicts, drifts or "none"]) + " |"


def _store(name: str) -> ResultStore:
    env = Env.read({"LOUPE_HOME": str(HOMES / name)})
    return open_results(env, Home.of(env))


def drift(window: Document) -> str:
    """What a window found, or why it was not tested; empty for no drift."""
    if window.get("note"):
        return f"{window['day']} not tested ({window['note']})"
    return "" if window["severity"] == "none" else f"{window['kind']} {window['severity']}"


def shown(metric: dict[str, float | None] | None) -> str:
    """`0.951 (0.91–0.98, n 34)`."""
    if metric is None or metric["value"] is None:
        return "not defined"
    if metric["low"] is None:
        return f"{metric['value']:.3f} (too few, n {metric['n']})"
    return f"{metric['value']:.3f} ({metric['low']:.2f}–{metric['high']:.2f}, n {metric['n']})"


def main() -> None:
    """Run the lines that were asked for and put their rows into RESULTS.md."""
    names = sys.argv[1:] or LINES
    for name in names:
        status, minutes = run(name)
        if status:
            sys.exit(f"{name}: the demo ended with status {status}")
        put("real lines", row(name, minutes))


if __name__ == "__main__":
    main()
