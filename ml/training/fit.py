"""Fit the supervised models on a dataset; one readable function per task."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from ml.data.dataset import Dataset, Sample
from ml.models.classifier import Classifier
from ml.models.segmenter import Segmenter
from ml.settings import Home, LineConfig
from ml.settings.line import ClassifierConfig, SegmenterConfig
from ml.training.device import device, placed
from ml.training.enough import class_names, require_two_kinds
from ml.training.loop import AfterEpoch, Fitted, Task, fit
from ml.training.losses import mask_sums, segmentation_loss
from ml.training.pixels import (
    Pixels,
    augment,
    balanced_batches,
    bytes_in_memory,
    load_pixels,
    mask_tensor,
    steps_per_epoch,
    to_tensor,
)
from ml.training.preflight import fitting_batch
from ml.training.probe import fit_head

_EVALUATION_BATCH = 16


def fit_classifier(
    home: Home,
    line: LineConfig,
    dataset: Dataset,
    checkpoint: Path,
    threads: int,
    after_epoch: AfterEpoch | None = None,
) -> tuple[Classifier, Fitted]:
    """Fine-tune the backbone with cross-entropy on balanced batches.

    Raises TrainingError when a kind of image is missing or too rare.
    """
    require_two_kinds(line, dataset, "classifier")
    config = line.classifier
    classes = class_names(dataset.split("train"))
    model = placed(Classifier(line.backbone, len(classes), line.seed))
    batch = _fitting_batch(model, config, dataset, masks=False)
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
        for index in balanced_batches(_is_defect(train), batch, random):
            images, _ = augment(train.images[index], None, random)
            yield images, wanted[index]

    def loss(images: Tensor, target: Tensor) -> Tensor:
        return functional.cross_entropy(model(images)[0], target, label_smoothing=0.05)

    def validate() -> float:
        logits = torch.cat([model(images)[0].cpu() for images in chunks(validation)])
        each = functional.cross_entropy(logits, expected, reduction="none")
        return float((each * _balance(_is_defect(validation))).sum())

    fitted = fit(
        Task(model, batches, batch, steps_per_epoch(len(train.samples), batch), loss, validate),
        stage="train classifier",
        epochs=config.epochs,
        learning_rate=config.learning_rate,
        seed=line.seed,
        checkpoint=checkpoint,
        after_epoch=after_epoch,
    )
    return model, fitted


def fit_segmenter(
    home: Home,
    line: LineConfig,
    dataset: Dataset,
    checkpoint: Path,
    threads: int,
    after_epoch: AfterEpoch | None = None,
) -> tuple[Segmenter, Fitted]:
    """Train a U-Net with cross-entropy and Dice; half of each batch are good images.

    Raises TrainingError when good images, or defects with a mask, are missing or too rare.
    """
    require_two_kinds(line, dataset, "segmenter")
    masked = with_masks(dataset)
    require_two_kinds(line, masked, "segmenter", " with a mask")
    config = line.segmenter
    model = placed(Segmenter(line.backbone, config.decoder, line.seed))
    batch = _fitting_batch(model, config, masked, masks=True)
    train, validation = (
        load_pixels(home, masked.split(name), config.size, masks=True, threads=threads)
        for name in ("train", "validation")
    )
    assert train.masks is not None
    assert validation.masks is not None
    wanted, expected = train.masks, torch.split(mask_tensor(validation.masks), _EVALUATION_BATCH)

    def batches(random: np.random.Generator) -> Iterable[tuple[Tensor, Tensor]]:
        for index in balanced_batches(_is_defect(train), batch, random):
            images, masks = augment(train.images[index], wanted[index], random)
            assert masks is not None
            yield images, masks

    def loss(images: Tensor, masks: Tensor) -> Tensor:
        return segmentation_loss(mask_sums(model(images), masks))

    def validate() -> float:
        pairs = zip(chunks(validation), expected, strict=True)
        sums = [mask_sums(model(images).cpu(), masks) for images, masks in pairs]
        return float(segmentation_loss(torch.stack(sums).sum(dim=0)))

    fitted = fit(
        Task(model, batches, batch, steps_per_epoch(len(train.samples), batch), loss, validate),
        stage="train segmenter",
        epochs=config.epochs,
        learning_rate=config.learning_rate,
        seed=line.seed,
        checkpoint=checkpoint,
        after_epoch=after_epoch,
    )
    return model, fitted


def _fitting_batch(
    model: nn.Module, config: ClassifierConfig | SegmenterConfig, dataset: Dataset, *, masks: bool
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
