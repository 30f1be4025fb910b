"""The main job as somebody runs it at a terminal, in one process: `python undisturbed.py`."""

import json
import sys
from typing import Any

from click.testing import CliRunner

from ml.cli.main import main

DAY = "2026-01-08"
LEARNED = "2026-01-07"


def run_main_job() -> None:
    """Ingest, train and one night of the line `tiny`, in the home that the environment names."""
    loupe("validate", "--batch", loupe("ingest", "--until", DAY)["batch"])
    dataset = loupe("snapshot", "--until", LEARNED)["dataset"]
    loupe("train", "--dataset", dataset, "--model", "classifier")
    bundle = loupe("evaluate", "--dataset", dataset)["bundle"]
    loupe("gate", "--bundle", bundle)
    # As the DAG does: under the name of a person the ledger would differ.
    loupe("promote", "--bundle", bundle, "--by", "gate")
    for shard in loupe("shards", "--day", DAY)["shards"]:
        loupe("predict", "--day", DAY, "--shard", str(shard["shard"]), "--bundle", bundle)
    loupe("publish", "--day", DAY)
    loupe("reconcile", "--day", DAY)


def loupe(step: str, *options: str) -> dict[str, Any]:
    """The result of a step; a step that fails ends the process with what it said."""
    done = CliRunner().invoke(main, [step, "--line", "tiny", *options])
    if done.exit_code:
        sys.exit(f"{step}: {done.output}{done.exception!r}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    run_main_job()
