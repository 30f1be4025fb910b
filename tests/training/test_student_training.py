"""A student trains as the other models do: resumed to the same bytes, shrunk or refused before."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file

from ml.errors import TrainingError
from ml.models.student import StudentTeacher
from ml.settings import Env, Home, LineConfig
from ml.training import loop, preflight
from ml.training.export import MAX_PARITY
from ml.training.train import Trained, train
from tests.training.conftest import SIDE, MakeDataset


class Killed(BaseException):
    """Stands for a kill: nothing in the code catches it."""


@pytest.fixture
def line(line: LineConfig) -> LineConfig:
    """The tiny line with a student in steps of four images, two an epoch."""
    changed = {"method": "student_teacher", "epochs": 3, "batch": 4}
    return line.model_copy(update={"anomaly": line.anomaly.model_copy(update=changed)})


def contents(run: Trained) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(run.run.folder.iterdir())}


def test_a_student_learns_from_good_images_alone_and_its_onnx_answers_as_agreed(
    env: Env, home: Home, line: LineConfig, make_dataset: MakeDataset
) -> None:
    run = train(env, home, line, make_dataset(), "anomaly").run
    result = run.result
    assert result["parity"] <= MAX_PARITY
    assert result["facts"] == {"batch": 4, "good_images": 8, "threads": env.threads}
    assert (result["epochs"], len(result["losses"])) == (3, 4)
    assert result["loss"] == min(result["losses"]) < result["losses"][0]
    session = onnxruntime.InferenceSession(str(run.onnx))
    batch = np.random.default_rng(1).uniform(0, 255, (3, 3, SIDE, SIDE)).astype(np.float32)
    together = session.run(["score", "map", "embedding"], {"image": batch})
    assert [one.shape[:2] for one in together[:2]] == [(3,), (3, 1)]
    for index, one in enumerate(batch):
        alone = session.run(["score", "map", "embedding"], {"image": one[None]})
        for a, b in zip(together, alone, strict=True):
            np.testing.assert_allclose(a[index], b[0], rtol=1e-3, atol=1e-4)


def test_defects_and_missing_validation_change_nothing_but_who_chooses_the_epoch(
    env: Env, home: Home, line: LineConfig, make_dataset: MakeDataset
) -> None:
    clean = train(env, home, line, make_dataset("clean", train=(8, 0)), "anomaly").run
    mixed = train(env, home, line, make_dataset("mixed", train=(8, 6)), "anomaly").run
    assert clean.onnx.read_bytes() == mixed.onnx.read_bytes()
    alone = make_dataset("alone", train=(8, 0), validation=(0, 0))
    result = train(env, home, line, alone, "anomaly").run.result
    assert result["loss"] < result["losses"][0]
    assert result["metrics"] == {"auroc": None, "ap": None}


@pytest.mark.parametrize("steps", [1, 3])
def test_a_killed_student_resumes_to_the_bytes_of_an_undisturbed_one(
    env: Env,
    home: Home,
    line: LineConfig,
    make_dataset: MakeDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    steps: int,
) -> None:
    make_dataset()
    left = steps

    class Mortal(loop.Progress):
        def step(self, count: int = 1) -> None:
            super().step(count)
            nonlocal left
            left -= count
            if left == 0:
                raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(loop, "Progress", Mortal)
        with pytest.raises(Killed):
            train(env, home, line, "d1", "anomaly")
    resumed = train(env, home, line, "d1", "anomaly")
    assert resumed.resumed == (steps > 2)
    other = Home(tmp_path / "undisturbed")
    other.root.mkdir()
    for name in ("objects", "datasets"):
        (other.root / name).symlink_to(home.root / name)
    assert contents(resumed) == contents(train(env, other, line, "d1", "anomaly"))


def test_a_teacher_keeps_its_statistics_through_training(
    env: Env, home: Home, line: LineConfig, make_dataset: MakeDataset
) -> None:
    run = train(env, home, line, make_dataset(), "anomaly").run
    found = load_file(run.folder / "model.safetensors")
    before = StudentTeacher(line.backbone, line.anomaly, line.seed).state_dict()
    same = {name: torch.equal(found[name], tensor) for name, tensor in before.items()}
    assert all(same[name] for name in same if name.startswith("teacher."))
    assert not same["student.conv1.0.weight"]


def test_a_student_that_does_not_fit_is_shrunk_or_refused_before_it_trains(
    env: Env,
    home: Home,
    line: LineConfig,
    make_dataset: MakeDataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_dataset()
    monkeypatch.setattr(preflight, "free_memory", lambda: 10 << 20)
    with pytest.raises(TrainingError, match=r"training needs .*for a batch of 2"):
        train(env, home, line, "d1", "anomaly")


def test_a_learning_rate_that_breaks_the_student_is_said(
    env: Env, home: Home, line: LineConfig, make_dataset: MakeDataset
) -> None:
    wild = line.anomaly.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(TrainingError, match=r"train student.*lower learning_rate"):
        train(env, home, line.model_copy(update={"anomaly": wild}), make_dataset(), "anomaly")
