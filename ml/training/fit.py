"""Fit the supervised models on a dataset; one readable function per task."""

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
from ml.models.segmenter import Segmenter
from ml.settings import Home, LineConfig
from ml.settings.line import ClassifierConfig
from ml.training.augment import varied
from ml.training.average import Averaged
from ml.training.defects import changed, defect_batches
from ml.training.device import device, placed
from ml.training.distributed import lowest, share
from ml.training.enough import class_names, require_drawn, require_two_kinds
from ml.training.loop import AfterEpoch, Fitted, Task, fit
from ml.training.losses import segmentation_loss
from ml.training.pixels import (
    Pixels,
    augment,
    bytes_in_memory,
    load_pixels,
    mask_tensor,
    steps_per_epoch,
    to_tensor,
)
from ml.training.preflight import fitting_batch
from ml.training.probe import fit_head
from ml.training.sampling import group_balanced_batches
from ml.training.tiles import count_inputs, load_inputs
from ml.training.weak import fit_labeller, with_weak_masks

_EVALUATION_BATCH = 16
# The average reaches back about so many steps.
_AVERAGED_STEPS = 30
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
    classes = class_names(dataset.split("train"))
    model = placed(
        Classifier(
            line.backbone,
            len(classes),
            line.seed,
            light=config.light,
            frozen_stride=config.frozen_stride,
        )
    )
    batch = lowest(_fitting_batch(model, config, dataset, masks=False))
    train, validation = (
        load_pixels(home, dataset.split(name), config.size, masks=False, threads=threads)
        for name in ("train", "validation")
    )
    wanted, expected = (
        torch.tensor([_class(sample, classes) for sample in split.samples])
        for split in (train, validation)
    )

    if line.backbone.weights != "none":
        fit_head(model, chunks(train), wanted, _balance(_is_defect(train)))

    def batches(random: np.random.Generator) -> Iterable[tuple[Tensor, Tensor]]:
        return classifier_batches(train, wanted, config, batch, random, threads)

    def loss(images: Tensor, target: Tensor) -> Tensor:
        return functional.cross_entropy(model(images)[0], target, label_smoothing=0.05)

    def validate() -> float:
        logits = torch.cat([model(images)[0].cpu() for images in chunks(validation)])
        each = functional.cross_entropy(logits, expected, reduction="none")
        return float((each * _balance(_is_defect(validation))).sum())

    fitted = fit(
        Task(
            model,
            batches,
            batch,
            steps_per_epoch(len(train.samples), batch),
            loss,
            validate,
            shared=True,
        ),
        stage="train classifier",
        epochs=config.epochs,
        learning_rate=config.learning_rate,
        seed=line.seed,
        checkpoint=checkpoint,
        patience=config.patience,
        after_epoch=after_epoch,
    )
    return model, fitted


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
        (index[share()], random.spawn(len(index))[share()])
        for index in group_balanced_batches(_is_defect(pixels), groups, batch, random)
    )
    return run_ahead(prepare, chosen, threads=threads, ahead=_AHEAD)


def fit_segmenter(
    home: Home,
    line: LineConfig,
    dataset: Dataset,
    checkpoint: Path,
    threads: int,
    after_epoch: AfterEpoch | None = None,
) -> tuple[Segmenter, Fitted]:
    """Train a U-Net image by image; half of each batch are good images.

    The model is the moving average of the weights (Polyak and Juditsky, 1992): with few defects
    single steps differ much.
    Raises TrainingError when good images, or defects with a mask, are missing or too rare.
    """
    require_two_kinds(line, dataset, "segmenter")
    config = line.segmenter
    masked = dataset if config.weak_labels else with_masks(dataset)
    require_two_kinds(line, masked, "segmenter", "" if config.weak_labels else " with a mask")
    model = placed(Segmenter(line.backbone, config.decoder, line.seed, config.light))
    counts = [
        count_inputs(home, masked.split(name), config, threads) for name in ("train", "validation")
    ]
    held = sum(bytes_in_memory(count, config.input_size, True) for count in counts)
    seen = config.model_copy(update={"size": config.input_size})
    batch = fitting_batch(model, seen, counts[0], held)
    train, validation = (
        load_inputs(home, masked.split(name), config, threads) for name in ("train", "validation")
    )
    if config.weak_labels:
        labeller = fit_labeller(train)
        train, validation = (with_weak_masks(split, labeller) for split in (train, validation))
        require_drawn(line, train)
    assert train.masks is not None
    assert validation.masks is not None
    expected = torch.split(mask_tensor(validation.masks), _EVALUATION_BATCH)
    weights = _balance(_is_defect(validation))
    both = Averaged(model, _AVERAGED_STEPS)

    def batches(random: np.random.Generator) -> Iterable[tuple[Tensor, Tensor]]:
        for index in defect_batches(train.samples, batch, random):
            images, masks = augment(*changed(train, index, random), random)
            assert masks is not None
            yield images, masks

    def loss(images: Tensor, masks: Tensor) -> Tensor:
        return segmentation_loss(both(images), masks).mean()

    def validate() -> float:
        pairs = zip(chunks(validation), expected, strict=True)
        each = [segmentation_loss(both(images).cpu(), masks) for images, masks in pairs]
        return float((torch.cat(each) * weights).sum())

    fitted = fit(
        Task(both, batches, batch, steps_per_epoch(len(train.samples), batch), loss, validate),
        stage="train segmenter",
        epochs=config.epochs,
        learning_rate=config.learning_rate,
        seed=line.seed,
        checkpoint=checkpoint,
        after_epoch=after_epoch,
    )
    return both.average, fitted


def _fitting_batch(
    model: nn.Module, config: ClassifierConfig, dataset: Dataset, *, masks: bool
) -> int:
    train, validation = (len(dataset.split(name)) for name in ("train", "validation"))
    held = bytes_in_memory(train, config.size, masks) + bytes_in_memory(
        validation, config.size, masks
    )
    return fitting_batch(model, config, train, held)


def with_masks(dataset: Dataset) -> Dataset:
    """The dataset without unmasked defects: they would teach that their pixels are good."""
    kept = tuple(sample for sample in dataset.samples if sample.mask or not sample.is_defect)
    return Dataset(dataset.name, kept, dataset.counts)


def without_masks(samples: Iterable[Sample]) -> list[Sample]:
    """The defects that nobody outlined."""
    return [sample for sample in samples if sample.is_defect and not sample.mask]


def chunks(pixels: Pixels) -> Iterable[Tensor]:
    """The images in order, as tensors of a few images on the device."""
    for start in range(0, len(pixels.images), _EVALUATION_BATCH):
        yield to_tensor(pixels.images[start : start + _EVALUATION_BATCH]).to(device())


def _class(sample: Sample, classes: tuple[str, ...]) -> int:
    """Class index; a defect type that training never saw counts as the first defect."""
    if not sample.is_defect:
        return 0
    return classes.index(sample.defect_type) if sample.defect_type in classes else 1


def _is_defect(pixels: Pixels) -> npt.NDArray[np.bool_]:
    return np.array([sample.is_defect for sample in pixels.samples])


def _balance(is_defect: npt.NDArray[np.bool_]) -> Tensor:
    """Weights that sum to one and give good and defective images the same say."""
    weights = np.where(is_defect, 1 / max(is_defect.sum(), 1), 1 / max((~is_defect).sum(), 1))
    return torch.from_numpy(weights / weights.sum()).float()
