"""Train the U-Net of a line."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ml.data.dataset import Dataset, Sample
from ml.models.segmenter import Segmenter
from ml.settings import Home, LineConfig
from ml.training.average import Averaged
from ml.training.defects import changed, defect_batches
from ml.training.device import placed
from ml.training.enough import require_drawn, require_two_kinds
from ml.training.loop import AfterEpoch, Fitted, Task, fit
from ml.training.losses import segmentation_loss
from ml.training.pixels import (
    EVALUATION_BATCH,
    Pixels,
    augment,
    bytes_in_memory,
    chunks,
    mask_tensor,
    steps_per_epoch,
)
from ml.training.preflight import fitting_batch
from ml.training.sampling import equal_say, is_defect
from ml.training.tiles import count_inputs, load_inputs
from ml.training.weak import fit_labeller, with_weak_masks

# The average reaches back about so many steps.
_AVERAGED_STEPS = 30


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
    masked = require_masks(line, dataset)
    config = line.segmenter
    model = placed(Segmenter(line.backbone, config.decoder, line.seed, config.light))
    counts = [
        count_inputs(home, masked.split(name), config, threads) for name in ("train", "validation")
    ]
    held = sum(bytes_in_memory(count, config.input_size, True) for count in counts)
    seen = config.model_copy(update={"size": config.input_size})
    batch = fitting_batch(model, seen, counts[0], held)
    train, validation = load_masked(home, line, masked, threads, "validation")
    both = Averaged(model, _AVERAGED_STEPS)
    fitted = fit(
        _task(both, train, validation, batch, config.mirror),
        stage="train segmenter",
        epochs=config.epochs,
        learning_rate=config.learning_rate,
        seed=line.seed,
        checkpoint=checkpoint,
        after_epoch=after_epoch,
    )
    return both.average, fitted


def _task(
    both: Averaged[Segmenter], train: Pixels, validation: Pixels, batch: int, mirror: bool
) -> Task:
    assert validation.masks is not None
    expected = torch.split(mask_tensor(validation.masks), EVALUATION_BATCH)
    weights = equal_say(is_defect(validation))

    def batches(random: np.random.Generator) -> Iterable[tuple[Tensor, Tensor]]:
        for index in defect_batches(train.samples, batch, random):
            pairs = changed(train, index, random, mirror=mirror)
            images, masks = augment(*pairs, random, mirror=mirror)
            assert masks is not None
            yield images, masks

    def loss(images: Tensor, masks: Tensor) -> Tensor:
        return segmentation_loss(both(images), masks).mean()

    def validate() -> float:
        pairs = zip(chunks(validation), expected, strict=True)
        each = [segmentation_loss(both(images).cpu(), masks) for images, masks in pairs]
        return float((torch.cat(each) * weights).sum())

    steps = steps_per_epoch(len(train.samples), batch)
    return Task(both, batches, batch, steps, loss, validate)


def require_masks(line: LineConfig, dataset: Dataset) -> Dataset:
    """What of the dataset a segmenter learns from.

    Raises TrainingError when good images, or defects with a mask, are missing or too rare.
    """
    require_two_kinds(line, dataset, "segmenter")
    if line.segmenter.weak_labels:
        return dataset
    masked = with_masks(dataset)
    require_two_kinds(line, masked, "segmenter", " with a mask")
    return masked


def load_masked(
    home: Home, line: LineConfig, masked: Dataset, threads: int, *others: str
) -> list[Pixels]:
    """The images of `train` and of other splits as the segmenter is fed, each with a mask."""
    splits = [
        load_inputs(home, masked.split(name), line.segmenter, threads)
        for name in ("train", *others)
    ]
    if line.segmenter.weak_labels:
        labeller = fit_labeller(splits[0])
        splits = [with_weak_masks(split, labeller) for split in splits]
        require_drawn(line, splits[0])
    return splits


def measurable(line: LineConfig, dataset: Dataset) -> Dataset:
    """What of the dataset the scores of a segmenter are measured on.

    Weak labels are of whole images, whose label suffices; of tiles a defect needs a mask.
    """
    return dataset if line.segmenter.weak_labels else with_masks(dataset)


def with_masks(dataset: Dataset) -> Dataset:
    """The dataset without unmasked defects: they would teach that their pixels are good."""
    kept = tuple(sample for sample in dataset.samples if sample.mask or not sample.is_defect)
    return Dataset(dataset.name, kept, dataset.counts)


def without_masks(samples: Iterable[Sample]) -> list[Sample]:
    """The defects that nobody outlined."""
    return [sample for sample in samples if sample.is_defect and not sample.mask]
