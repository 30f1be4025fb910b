"""MLflow holds each run once, whoever else is writing and whatever was killed before."""

import subprocess
import sys
from pathlib import Path

import pytest

from ml.errors import StackError
from ml.settings import Env, LineConfig
from ml.training.run import Run
from ml.training.tracking import open_client, track_run

RESULT = {
    "run": "anomaly-1",
    "model": "anomaly",
    "dataset": "d1",
    "code": "unknown",
    "seed": 1,
    "losses": [0.5, 0.25],
    "parity": 1e-6,
    "weights_sha256": "ab" * 32,
    "metrics": {"auroc": 0.75, "ap": None},
    "backbone": {"name": "test_resnet", "weights": "none", "weights_sha256": None},
}

OPEN = """
import sys
from pathlib import Path
from ml.settings import Env
from ml.training.tracking import open_client
home = Path(sys.argv[1])
open_client(Env(home, home, "sqlite", f"sqlite:///{home / 'mlflow.db'}", 1))
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "result.json").write_text("{}")
    return Run("anomaly-1", folder, RESULT)


def test_a_record_left_half_by_a_kill_is_replaced(env: Env, line: LineConfig, run: Run) -> None:
    client = open_client(env)
    where = (env.home / "mlruns" / "tiny").as_uri()
    experiment = client.create_experiment("tiny", artifact_location=where)
    half = client.create_run(experiment, tags={"run": run.name})
    recorded = track_run(env, line, run)
    assert recorded != half.info.run_id
    assert track_run(env, line, run) == recorded
    (only,) = client.search_runs([experiment])
    assert only.data.metrics["validation_auroc"] == 0.75
    assert only.data.metrics["validation_loss"] == 0.25
    assert only.data.tags["dataset"] == "d1"
    assert only.data.tags["weights_sha256"] == "ab" * 32
    assert only.data.params["bank"] == "20"
    assert [one.path for one in client.list_artifacts(recorded)] == ["result.json"]


def test_processes_that_open_a_new_mlflow_at_once_do_not_break_each_other(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", OPEN, str(tmp_path / "new")]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said


def test_an_mlflow_that_refuses_is_said_with_its_address(
    env: Env, line: LineConfig, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database" * 100)
    broken = Env(env.home, env.lines, "sqlite", f"sqlite:///{tmp_path / 'mlflow.db'}", 1)
    with pytest.raises(StackError, match=r"mlflow\.db"):
        track_run(broken, line, run)
