"""The best epoch wins, and the start counts as one."""

import shutil
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ml.errors import TrainingError
from ml.models.classifier import Classifier
from ml.settings.models import BackboneConfig
from ml.training.device import require_compiler
from ml.training.loop import Fitted, Task, fit
from ml.training.probe import fit_head


def fitted(
    model: nn.Linear,
    validate: Callable[[], float],
    checkpoint: Path,
    patience: int | None = None,
    compiled: bool = False,
) -> Fitted:
    def batches(random: np.random.Generator) -> Iterable[tuple[Tensor, Tensor]]:
        yield torch.from_numpy(random.normal(size=(4, 2))).float(), torch.ones(4, 1)

    def loss(inputs: Tensor, target: Tensor) -> Tensor:
        return ((model(inputs) - target) ** 2).mean()

    task = Task(model, batches, 4, 1, loss, validate, compiled=compiled)
    return fit(
        task,
        stage="t",
        epochs=4,
        learning_rate=0.1,
        seed=1,
        checkpoint=checkpoint,
        patience=patience,
    )


@pytest.mark.parametrize(
    ("losses", "best"), [([1, 2, 3, 4, 5], 0), ([5, 4, 1, 2, 3], 2), ([5, 4, 3, 2, 1], 4)]
)
def test_the_weights_of_the_best_epoch_are_kept(
    losses: list[float], best: int, tmp_path: Path
) -> None:
    model = nn.Linear(2, 1)
    seen: list[Tensor] = []

    def validate() -> float:
        seen.append(model.weight.detach().clone())
        return losses[len(seen) - 1]

    done = fitted(model, validate, tmp_path / "checkpoint")
    assert (done.best_epoch, done.losses) == (best, losses)
    assert torch.equal(model.weight, seen[best])
    assert not torch.equal(seen[0], seen[-1])


@pytest.mark.parametrize("classes", [2, 3])
def test_a_probed_head_tells_classes_apart_that_a_random_head_does_not(classes: int) -> None:
    generator = torch.Generator().manual_seed(1)
    target = torch.arange(30) % classes
    noise = torch.rand(30, 3, 32, 32, generator=generator) * 20
    images = noise + target[:, None, None, None] * 60
    model = Classifier(BackboneConfig(name="test_resnet", weights="none"), classes, seed=1)

    def loss() -> float:
        with torch.inference_mode():
            logits = model.eval()(images)[0]
        return float(nn.functional.cross_entropy(logits, target))

    before = loss()
    fit_head(model, images.split(8), target, torch.full((30,), 1 / 30))
    assert loss() < 0.8 * before
    with torch.inference_mode():
        assert (model(images)[0].argmax(dim=1) == target).all()


def test_training_stops_after_epochs_that_are_no_better_and_stays_stopped(tmp_path: Path) -> None:
    losses = iter([5.0, 3.0, 4.0, 3.5, 1.0])
    model = nn.Linear(2, 1)
    done = fitted(model, lambda: next(losses), tmp_path / "checkpoint", patience=2)
    assert (done.best_epoch, done.losses) == (1, [5.0, 3.0, 4.0, 3.5])
    resumed = nn.Linear(2, 1)
    again = fitted(resumed, lambda: next(losses), tmp_path / "checkpoint", patience=2)
    assert again.losses == done.losses
    assert torch.equal(resumed.weight, model.weight)


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_a_compiled_step_trains_as_a_plain_one_and_resumes_its_checkpoints(tmp_path: Path) -> None:
    models = [nn.Linear(2, 1) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    for model, compiled in zip(models, (False, True), strict=True):
        losses = iter([5.0, 4.0, 3.0, 2.0, 1.0])
        path = tmp_path / f"{compiled}"
        fitted(model, partial(next, losses), path, compiled=compiled)
        assert fitted(nn.Linear(2, 1), partial(next, losses), path).resumed
    assert torch.allclose(models[0].weight, models[1].weight, atol=1e-6)


def test_without_a_compiler_training_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(TrainingError, match="there is no no-such-compiler"):
        require_compiler()
