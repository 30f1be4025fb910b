"""One training loop for the models that take epochs: checkpointed, resumable, best epoch kept.

A run killed at any moment and resumed ends with the weights of an undisturbed run: all randomness
of an epoch comes from (seed, epoch), the learning rate from the step, and a checkpoint holds the
weights, the optimiser's moments and the best weights so far (safetensors, no pickle). Started by
`torchrun`, several processes share each step; see `distributed.py`.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ml import files
from ml.errors import TrainingError
from ml.progress import Progress
from ml.training.device import freed_memory_kept, precision
from ml.training.distributed import is_first, joined, of_first, require_shares, share

_WARM_UP_SHARE = 0.1
_ADAMW = partial(torch.optim.AdamW, weight_decay=1e-2)
_GRADIENT_NORM = 5.0

# Called with the validation losses so far, when the epoch's checkpoint is written.
AfterEpoch = Callable[[list[float]], None]


@dataclass
class Task:
    """What to fit. `batches(random)` yields the losses' inputs; `validate()` gives a loss.

    Where several processes train, `batches` yields whole batches, or with `shared` only this
    process's share of each. `compiled` steps are translated by `torch.compile` first, which takes
    minutes and is slower on short runs.
    """

    model: nn.Module
    batches: Callable[[np.random.Generator], Iterable[tuple[Tensor, Tensor]]]
    batch: int
    steps_per_epoch: int
    loss: Callable[[Tensor, Tensor], Tensor]
    validate: Callable[[], float]
    shared: bool = False
    compiled: bool = False
    optimiser: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] = _ADAMW


@dataclass(frozen=True)
class Fitted:
    """How a fit went; the model holds the weights of the best epoch.

    `losses` are validation losses: before training, then after each epoch.
    """

    best_epoch: int
    best_loss: float
    losses: list[float]
    batch: int
    resumed: bool


def fit(
    task: Task,
    *,
    stage: str,
    epochs: int,
    learning_rate: float,
    seed: int,
    checkpoint: Path,
    patience: int | None = None,
    after_epoch: AfterEpoch | None = None,
) -> Fitted:
    """Train for `epochs` and load the weights of the epoch with the lowest validation loss.

    After `patience` epochs in a row that are no better, the rest is left out. The model trains
    where it lies; what `after_epoch` raises ends the fit. Raises TrainingError when the loss is not
    finite, or the processes cannot have equal shares of a batch.
    """
    require_shares(task.batch)
    optimiser = task.optimiser(task.model.parameters())
    state = _State.load(checkpoint, task, optimiser)
    resumed = state.epoch > 0
    if not state.losses:
        # What the start is worth: pretrained features with a probed head may be the best epoch.
        _validate(task, state, stage)
    total = epochs * task.steps_per_epoch
    step = joined(_step_loss(task))
    progress = Progress(stage, total, state.epoch * task.steps_per_epoch)
    with freed_memory_kept(), progress:
        for epoch in range(state.epoch, epochs):
            if patience is not None and state.epochs_no_better >= patience:
                break
            torch.manual_seed(seed + epoch)
            task.model.train()
            for inputs, target in _shares(task, np.random.default_rng([seed, epoch])):
                for group in optimiser.param_groups:
                    group["lr"] = learning_rate * _schedule(progress.done / total)
                optimiser.zero_grad()
                step(inputs, target).backward()
                nn.utils.clip_grad_norm_(task.model.parameters(), _GRADIENT_NORM)
                optimiser.step()
                progress.step()
            _validate(task, state, stage)
            if is_first():
                state.save(checkpoint, task, optimiser)
            if after_epoch is not None:
                after_epoch(state.losses)
    task.model.load_state_dict(state.best)
    task.model.eval()
    return Fitted(state.best_epoch, state.best_loss, state.losses, task.batch, resumed)


def _shares(task: Task, random: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """This process's shares of the batches, where the model lies."""
    device = next(task.model.parameters()).device
    for inputs, target in task.batches(random):
        part = slice(None) if task.shared else share(len(inputs))
        yield (
            inputs[part].to(device, non_blocking=True),
            target[part].to(device, non_blocking=True),
        )


def _validate(task: Task, state: "_State", stage: str) -> None:
    """Note the loss after another epoch; the first time, before any."""
    epoch = len(state.losses)
    task.model.eval()
    with torch.inference_mode():
        loss = of_first(task.validate())
    if not math.isfinite(loss):
        msg = f"{stage}: the validation loss is {loss} after epoch {epoch}; lower learning_rate"
        raise TrainingError(msg)
    state.note(epoch, loss, task.model)


def _step_loss(task: Task) -> nn.Module:
    step = _StepLoss(task)
    if task.compiled:
        # In place: weights keep their names in checkpoints.
        step.compile(dynamic=False)
    return step


class _StepLoss(nn.Module):
    """The loss of a step as a module, whose gradients several processes can average."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.model = task.model
        self._loss = task.loss

    def forward(self, inputs: Tensor, target: Tensor) -> Tensor:
        with precision():
            return self._loss(inputs, target)


def _schedule(share_done: float) -> float:
    """Linear warm-up, then cosine (Loshchilov and Hutter, ICLR 2017)."""
    if share_done < _WARM_UP_SHARE:
        return max(share_done / _WARM_UP_SHARE, 0.02)
    rest = (share_done - _WARM_UP_SHARE) / (1 - _WARM_UP_SHARE)
    return 0.5 * (1 + math.cos(math.pi * rest))


class _State:
    def __init__(self, model: nn.Module) -> None:
        self.epoch = 0
        self.losses: list[float] = []
        self.best_epoch = 0
        self.best_loss = math.inf
        self.best = _copy(model)

    @property
    def epochs_no_better(self) -> int:
        return self.epoch - self.best_epoch

    def note(self, epoch: int, loss: float, model: nn.Module) -> None:
        self.epoch = epoch
        self.losses.append(loss)
        if loss < self.best_loss:
            self.best_epoch, self.best_loss, self.best = epoch, loss, _copy(model)

    def save(self, path: Path, task: Task, optimiser: torch.optim.Optimizer) -> None:
        tensors = {f"model/{name}": tensor for name, tensor in _copy(task.model).items()}
        tensors |= {f"best/{name}": tensor for name, tensor in self.best.items()}
        for index, moments in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser/{index}/{name}": value for name, value in moments.items()}
        facts = {
            "epoch": self.epoch,
            "losses": self.losses,
            "best_epoch": self.best_epoch,
            "batch": task.batch,
        }
        content = save(
            {name: tensor.contiguous() for name, tensor in tensors.items()},
            {"state": json.dumps(facts)},
        )
        files.write_bytes(path, content)

    @classmethod
    def load(cls, path: Path, task: Task, optimiser: torch.optim.Optimizer) -> "_State":
        state = cls(task.model)
        if not path.exists():
            return state
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            facts = json.loads(file.metadata()["state"])
        if facts["batch"] != task.batch:
            # Another machine, or less free memory: its epochs had other steps.
            return state
        task.model.load_state_dict(_below(tensors, "model/"))
        state.best = _below(tensors, "best/")
        _load_moments(optimiser, _below(tensors, "optimiser/"))
        state.epoch, state.losses = facts["epoch"], facts["losses"]
        state.best_epoch = facts["best_epoch"]
        state.best_loss = state.losses[state.best_epoch]
        return state


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _load_moments(optimiser: torch.optim.Optimizer, moments: dict[str, Tensor]) -> None:
    document = optimiser.state_dict()
    for name, tensor in moments.items():
        index, kind = name.split("/")
        document["state"].setdefault(int(index), {})[kind] = tensor
    optimiser.load_state_dict(document)
