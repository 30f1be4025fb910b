"""`loupe train` answers with one JSON line, and with one clear message when it cannot."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ml.cli import main
from ml.settings import Env
from tests.training.conftest import MakeDataset

LINE = """
name = "tiny"
title = "Tiny plates"
models = ["classifier", "anomaly"]
source = { uri = "unused", layout = { kind = "masks" } }
backbone = { name = "test_resnet", weights = "none" }
anomaly = { size = [40, 40], strides = [4, 8], bank = 20, projection = 8 }
"""


@pytest.fixture
def loupe(env: Env, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Loupe":
    (tmp_path / "tiny.toml").write_text(LINE)
    monkeypatch.setenv("LOUPE_HOME", str(env.home))
    monkeypatch.setenv("LOUPE_MLFLOW", env.mlflow)
    monkeypatch.setenv("LOUPE_THREADS", "1")
    return Loupe(str(tmp_path / "tiny.toml"))


class Loupe:
    """`loupe train` on the tiny line."""

    def __init__(self, line: str) -> None:
        self.line = line

    def train(self, model: str) -> Result:
        options = ["--line", self.line, "--dataset", "d1", "--model", model]
        return CliRunner().invoke(main, ["train", *options])


def test_the_result_is_the_last_line_of_stdout(loupe: Loupe, make_dataset: MakeDataset) -> None:
    make_dataset()
    first, again = loupe.train("anomaly"), loupe.train("anomaly")
    assert (first.exit_code, again.exit_code) == (0, 0)
    result = json.loads(first.stdout)
    assert set(result) == {
        *("model", "run", "mlflow_run", "epochs", "loss", "seconds", "resumed", "skipped"),
        "warnings",
    }
    assert "random numbers" in first.stderr
    assert json.loads(again.stdout) == result | {"seconds": 0.0, "skipped": True}


def test_a_dataset_that_cannot_train_is_one_message_and_status_2(
    loupe: Loupe, make_dataset: MakeDataset
) -> None:
    make_dataset(train=(8, 0))
    refused = loupe.train("classifier")
    assert refused.exit_code == 2
    assert refused.stdout == ""
    assert "0 training images are defect" in refused.stderr
    assert "Traceback" not in refused.stderr
