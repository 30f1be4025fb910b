"""Fine-tune the classifier of a line."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from ml.ahead import run_ahead
from ml.data.dataset import Dataset, Sample
from ml.models.classifier import Classifier
from ml.settings import Home, LineConfig
from ml.settings.models import ClassifierConfig
from ml.training.augment import varied
from ml.training.device import placed, require_compiler
from ml.training.distributed import share
from ml.training.enough import class_names, require_two_kinds
from ml.training.loop import AfterEpoch, Fitted, Task, fit
from ml.training.pixels import Pixels, bytes_in_memory, chunks, load_pixels, steps_per_epoch
from ml.training.preflight import fitting_batch
from ml.training.probe import fit_head
from ml.training.sampling import equal_say, group_balanced_batches, is_defect

# Batches that are made ready while the model computes.
_AHEAD = 2


def fit_classifier(
    home: Home,
    line: LineConfig,
    dataset: Dataset,
    checkpoint: Path,
    threads: int,
    after_epoch: AfterEpoch | None = None,
) -> tuple[Classifier, Fitted]:
    """Fine-tune the backbone with cross-entropy on batches balanced by kind and group.

    Raises TrainingError when a kind of image is missing or too rare.
    """
    require_two_kinds(line, dataset, "classifier")
    config = line.classifier
    if config.compile:
        require_compiler()
    classes = class_names(dataset.split("train"))
    model = placed(
        Classifier(
            line.backbone,
            len(classes),
            line.seed,
            strides=config.strides,
            light=config.light,
            frozen_stride=config.frozen_stride,
            turns=config.turns,
        )
    )
    batch = _fitting_batch(model, config, dataset)
    train, validation = (
        load_pixels(home, dataset.split(name), config.size, masks=False, threads=threads)
        for name in ("train", "validation")
    )
    wanted = torch.tensor([_class(sample, classes) for sample in train.samples])
    if line.backbone.weights != "none":
        fit_head(model, chunks(train), wanted, equal_say(is_defect(train)))
    fitted = fit(
        _task(model, train, wanted, validation, classes, config, batch, threads),
        stage="train classifier",
        epochs=config.epochs,
        learning_rate=config.learning_rate,
        seed=line.seed,
        checkpoint=checkpoint,
        patience=config.patience,
        after_epoch=after_epoch,
    )
    return model, fitted


def _task(
    model: Classifier,
    train: Pixels,
    wanted: Tensor,
    validation: Pixels,
    classes: tuple[str, ...],
    config: ClassifierConfig,
    batch: int,
    threads: int,
) -> Task:
    expected = torch.tensor([_class(sample, classes) for sample in validation.samples])
    weights = equal_say(is_defect(validation))

    def batches(random: np.random.Generator) -> Iterable[tuple[Tensor, Tensor]]:
        return classifier_batches(train, wanted, config, batch, random, threads)

    def loss(images: Tensor, target: Tensor) -> Tensor:
        return functional.cross_entropy(model(images)[0], target, label_smoothing=0.05)

    def validate() -> float:
        logits = torch.cat([model(images)[0].cpu() for images in chunks(validation)])
        each = functional.cross_entropy(logits, expected, reduction="none")
        return float((each * weights).sum())

    steps = steps_per_epoch(len(train.samples), batch)
    return Task(model, batches, batch, steps, loss, validate, shared=True, compiled=config.compile)


def classifier_batches(
    pixels: Pixels,
    target: Tensor,
    config: ClassifierConfig,
    batch: int,
    random: np.random.Generator,
    threads: int,
) -> Iterable[tuple[Tensor, Tensor]]:
    """This process's shares of the batches of one epoch, made ready while the model computes.

    Images `[n, 3, H, W]`, 0-255, changed as `varied` does, and their `target`.
    """

    def prepare(
        chosen: tuple[npt.NDArray[np.int64], list[np.random.Generator]],
    ) -> tuple[Tensor, Tensor]:
        index, randoms = chosen
        return varied(pixels.images[index], randoms, config), target[index]

    groups = np.array([sample.group for sample in pixels.samples])
    chosen = (
        (index[share(len(index))], random.spawn(len(index))[share(len(index))])
        for index in group_balanced_batches(is_defect(pixels), groups, batch, random)
    )
    return run_ahead(prepare, chosen, threads=threads, ahead=_AHEAD)


def _fitting_batch(model: nn.Module, config: ClassifierConfig, dataset: Dataset) -> int:
    train, validation = (len(dataset.split(name)) for name in ("train", "validation"))
    held = sum(bytes_in_memory(count, config.size, False) for count in (train, validation))
    return fitting_batch(model, config, train, held)


def _class(sample: Sample, classes: tuple[str, ...]) -> int:
    """Class index; a defect type that training never saw counts as the first defect."""
    if not sample.is_defect:
        return 0
    return classes.index(sample.defect_type) if sample.defect_type in classes else 1
