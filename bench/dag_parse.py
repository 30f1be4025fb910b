"""Parse time of the DAG files and the scheduler's loop with many lines; writes RESULTS.md.

    python bench/dag_parse.py [--lines 50] [--tries 3]

A file is read as Airflow's DAG processor reads it: in a fresh process with Airflow imported. The
scheduler then works on a run of every ingest DAG whose tasks wait for a slot, on SQLite.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from result_tables import write

PROJECT = Path(__file__).parents[1]
FILES = ("ingest", "train", "nightly", "monitor", "review")
LOOPS = 20
_LOOP = re.compile(r"Ran scheduling loop in ([0-9.]+) ms")

_READ = """
import json, sys, time
from airflow.dag_processing.dagbag import DagBag
from airflow.configuration import conf
started, worked = time.perf_counter(), time.process_time()
bag = DagBag(sys.argv[1])
seconds, worked = time.perf_counter() - started, time.process_time() - worked
assert not bag.import_errors, bag.import_errors
limit = conf.getfloat("core", "dagbag_import_timeout")
print(json.dumps({"seconds": seconds, "worked": worked, "dags": len(bag.dags), "limit": limit}))
"""

_START = """
import sys
from airflow.models.dagrun import DagRun
from airflow.models.serialized_dag import SerializedDagModel
from airflow.utils.session import create_session
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from datetime import UTC, datetime
names = [dag for dag in SerializedDagModel.read_all_dags() if dag.endswith("__ingest")]
for name in names:
    SerializedDagModel.get_dag(name).create_dagrun(
        run_id="bench", run_after=datetime.now(UTC), run_type=DagRunType.MANUAL,
        triggered_by=DagRunTriggeredByType.CLI, state="queued", logical_date=None,
    )
print(len(names))
"""


def main() -> None:
    """Write the table of parse times and the sentence on the loop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=50)
    parser.add_argument("--tries", type=int, default=3, help="fresh processes for each file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        environ = make_home(Path(folder), options.lines)
        rows = [
            f"| {name}.py | {one['dags']:.0f} | {one['worked']:.2f} | {one['seconds']:.2f} | "
            f"{one['limit'] / one['seconds']:.0f} times |"
            for name in FILES
            for one in [parse(environ, name, options.tries)]
        ]
        loops = scheduler_loops(environ)
    head = "| file | DAGs | processor s | s | below the limit |\n| --- | --- | --- | --- | --- |"
    said = (
        f"A scheduler loop over them took {statistics.median(loops):.2f} s in the median and "
        f"{max(loops):.2f} s at most ({len(loops)} loops, {options.lines} lines; the load of the "
        f"machine was {os.getloadavg()[0]:.1f})."
    )
    write("dag parse", "\n".join([head, *rows, "", said]))


def make_home(folder: Path, lines: int) -> dict[str, str]:
    """An Airflow of its own with copies of the demo line; returns the environment."""
    text = (PROJECT / "lines" / "demo.toml").read_text()
    (folder / "lines").mkdir()
    for number in range(lines):
        named = text.replace('name = "demo"', f'name = "line{number:02d}"', 1)
        (folder / "lines" / f"line{number:02d}.toml").write_text(named)
    settings = {
        "CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder / 'airflow.db'}",
        "LOGGING__BASE_LOG_FOLDER": str(folder / "logs"),
    }
    environ = {
        **os.environ,
        **{f"AIRFLOW__{name}": value for name, value in settings.items()},
        "AIRFLOW_HOME": str(folder),
        "LOUPE_LINES": str(folder / "lines"),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")])),
    }
    run(environ, "-m", "airflow", "db", "migrate")
    return environ


def parse(environ: dict[str, str], name: str, tries: int) -> dict[str, float]:
    """Seconds to read a DAG file (median of tries), its number of DAGs, Airflow's limit."""
    found = [
        json.loads(run(environ, "-c", _READ, str(PROJECT / "dags" / f"{name}.py")).splitlines()[-1])
        for _ in range(tries)
    ]
    return {key: statistics.median(one[key] for one in found) for key in found[0]}


def scheduler_loops(environ: dict[str, str]) -> list[float]:
    """Seconds of each loop of a scheduler with a run of every ingest DAG to look after."""
    run(environ, "-m", "airflow", "dags", "reserialize")
    run(environ, "-m", "airflow", "pools", "set", "default_pool", "0", "nothing may run")
    run(environ, "-c", _START)
    loud = {**environ, "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG"}
    said = run(loud, "-m", "airflow", "scheduler", "--num-runs", str(LOOPS), "--skip-serve-logs")
    return [float(found) / 1000 for found in _LOOP.findall(said)]


def run(environ: dict[str, str], *words: str) -> str:
    """What a Python command prints; it must end well."""
    done = subprocess.run(
        [sys.executable, *words],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{' '.join(words)[:80]}: {done.stdout[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    main()
