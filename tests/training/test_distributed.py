"""Two processes take the steps of one; only the first writes and answers."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ml.errors import TrainingError
from ml.settings import Env, Home, load_line
from ml.settings.models import ClassifierConfig
from ml.training import distributed
from ml.training.classifier import classifier_batches
from ml.training.run import WEIGHTS
from ml.training.train import train
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
    env: Env, make_dataset: MakeDataset, tmp_path: Path, project: Path, empty_mlflow: Path
) -> None:
    make_dataset()
    path = tmp_path / "tiny.toml"
    path.write_text(LINE)
    home = Home(tmp_path / "two")
    home.root.mkdir()
    shutil.copy(empty_mlflow, home.root)
    for shared in ("objects", "datasets"):
        (home.root / shared).symlink_to(env.home / shared)
    step = ("train", "--line", str(path), "--dataset", "d1", "--model", "classifier")
    environ = {"LOUPE_HOME": str(home.root), "LOUPE_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *TORCHRUN, "-m", "ml.cli", *step],
        cwd=project, env=os.environ | environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (answer,) = done.stdout.splitlines()
    alone = train(env, Home(env.home), load_line(path), "d1", "classifier").run
    assert json.loads(answer)["run"] == alone.name
    weights = load_file(alone.folder / WEIGHTS)
    together = load_file(home.training("tiny", alone.name) / WEIGHTS)
    assert weights.keys() == together.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(together[name], tensor, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("batch", [3, 9])
def test_a_batch_of_fewer_images_than_the_line_asks_for_is_shared_equally_or_refused(
    monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    samples = [SimpleNamespace(is_defect=n % 2 == 0, group=str(n)) for n in range(20)]
    pixels: Any = SimpleNamespace(images=np.zeros((20, 8, 8, 3), np.uint8), samples=samples)

    def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
        target, config = torch.zeros(20), ClassifierConfig()
        random = np.random.default_rng(1)
        return list(classifier_batches(pixels, target, config, batch, random, threads=1))

    assert {len(images) for images, _ in batches()} == {batch - 1}
    monkeypatch.setattr(distributed, "processes", lambda: 3)
    said = f"batch of {batch - 1} images cannot be shared by 3 processes .* even multiple of 3"
    with pytest.raises(TrainingError, match=said):
        batches()


def test_a_batch_that_cannot_be_shared_equally_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "processes", lambda: 3)
    assert distributed.share(12) == slice(0, None, 3)
    with pytest.raises(TrainingError, match="batch of 16 images cannot be shared by 3 processes"):
        distributed.share(16)
