"""Two processes take the steps of one; only the first writes and answers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ml.errors import TrainingError
from ml.settings import Env
from ml.training import distributed
from ml.training.run import WEIGHTS
from tests.training.conftest import MakeDataset

LINE = """
name = "tiny"
title = "Tiny plates"
models = ["classifier"]
source = { uri = "unused", layout = { kind = "masks" } }
backbone = { name = "test_resnet", weights = "none", freeze_batch_norm = true }
classifier = { size = [40, 40], epochs = 2, batch = 4 }
"""
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def test_two_processes_give_the_weights_of_one_and_one_answer(
    env: Env, make_dataset: MakeDataset, tmp_path: Path, project: Path
) -> None:
    make_dataset()
    line = tmp_path / "tiny.toml"
    line.write_text(LINE)
    found = []
    for name, start in (("one", ()), ("two", TORCHRUN)):
        home = tmp_path / name
        home.mkdir()
        for shared in ("objects", "datasets"):
            (home / shared).symlink_to(env.home / shared)
        step = ("train", "--line", str(line), "--dataset", "d1", "--model", "classifier")
        done = subprocess.run(
            [sys.executable, *start, "-m", "ml.cli", *step],
            cwd=project,
            env=os.environ
            | {"LOUPE_HOME": str(home), "LOUPE_THREADS": "1", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        (answer,) = done.stdout.splitlines()
        run = json.loads(answer)["run"]
        (folder,) = (home / "training" / "tiny").iterdir()
        assert folder.name == run
        found.append(load_file(folder / WEIGHTS))
    alone, together = found
    assert alone.keys() == together.keys()
    for name, tensor in alone.items():
        torch.testing.assert_close(together[name], tensor, rtol=1e-3, atol=1e-5)


def test_a_batch_that_cannot_be_shared_equally_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "processes", lambda: 3)
    distributed.require_shares(12, "train classifier")
    with pytest.raises(TrainingError, match="batch of 16 cannot be shared by 3 processes"):
        distributed.require_shares(16, "train classifier")
