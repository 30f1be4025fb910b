"""Fit each kind of model on a dataset; one readable function per task."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ml.data.dataset import Dataset, Sample
from ml.errors import TrainingError
from ml.models.classifier import Classifier
from ml.models.patchcore import PatchCore, PatchFeatures, greedy_coreset
from ml.models.segmenter import Segmenter
from ml.progress import track
from ml.settings import Home, LineConfig
from ml.training.loop import Fitted, Task, fit
from ml.training.pixels import Pixels, augment, balanced_batches, load_pixels, to_tensor

# Fewer images of a kind teach nothing and leave nothing to tune on.
MIN_PER_KIND = 4

# Candidate patches of the coreset: bounds memory, whatever the number of images.
_CANDIDATES = 40_000
_EVALUATION_BATCH = 16


def class_names(samples: Iterable[Sample]) -> tuple[str, ...]:
    """`ok`, then the defect types of the training images in alphabetical order."""
    return ("ok", *sorted({sample.defect_type for sample in samples if sample.is_defect}))


def fit_classifier(
    home: Home, line: LineConfig, dataset: Dataset, checkpoint: Path, threads: int
) -> tuple[Classifier, Fitted]:
    """Fine-tune the backbone with cross-entropy on balanced batches."""
    _require_two_kinds(line, dataset, "classifier")
    config = line.classifier
    classes = class_names(dataset.split("train"))
    model = Classifier(line.backbone, len(classes), line.seed)
    splits = [
        load_pixels(home, dataset.split(name), config.size, masks=False, threads=threads)
        for name in ("train", "validation")
    ]
    train, validation = splits
    targets = [torch.tensor([_class(s, classes) for s in split.samples]) for split in splits]

    def batches(random: np.random.Generator) -> Iterable[tuple[Tensor, Tensor]]:
        for index in balanced_batches(_is_defect(train), config.batch, random):
            images, _ = augment(to_tensor(train.images[index]), None, random)
            yield images, targets[0][index]

    def loss(images: Tensor, target: Tensor) -> Tensor:
        return functional.cross_entropy(model(images)[0], target, label_smoothing=0.05)

    def validate() -> float:
        logits = torch.cat([model(images)[0] for images in _chunks(validation)])
        weights = _balance(_is_defect(validation))
        each = functional.cross_entropy(logits, targets[1], reduction="none")
        return float((each * weights).sum())

    steps = max(1, len(train.samples) // config.batch)
    task = Task(model, batches, steps, loss, validate)
    fitted = fit(
        task,
        stage="train classifier",
        epochs=config.epochs,
        learning_rate=config.learning_rate,
        seed=line.seed,
        checkpoint=checkpoint,
    )
    return model, fitted


def fit_segmenter(
    home: Home, line: LineConfig, dataset: Dataset, checkpoint: Path, threads: int
) -> tuple[Segmenter, Fitted]:
    """Train a U-Net with cross-entropy and Dice; half of each batch are good images."""
    _require_two_kinds(line, dataset, "segmenter")
    # A defect without a mask would teach that its pixels are good.
    masked = Dataset(
        dataset.name,
        tuple(s for s in dataset.samples if s.mask or not s.is_defect),
        dataset.counts,
    )
    _require_two_kinds(line, masked, "segmenter", " with a mask")
    config = line.segmenter
    model = Segmenter(line.backbone, config.decoder, line.seed)
    train, validation = (
        load_pixels(home, masked.split(name), config.size, masks=True, threads=threads)
        for name in ("train", "validation")
    )

    def batches(random: np.random.Generator) -> Iterable[tuple[Tensor, Tensor]]:
        for index in balanced_batches(_is_defect(train), config.batch, random):
            images, masks = augment(to_tensor(train.images[index]), _masks(train, index), random)
            assert masks is not None
            yield images, masks

    def loss(images: Tensor, masks: Tensor) -> Tensor:
        return segmentation_loss(model(images), masks)

    def validate() -> float:
        order = np.arange(len(validation.samples))
        parts = np.array_split(order, max(1, len(order) // _EVALUATION_BATCH))
        each = [
            segmentation_loss(
                model(to_tensor(validation.images[part])), _masks(validation, part), mean=False
            )
            for part in parts
        ]
        return float((torch.cat(each) * _balance(_is_defect(validation))).sum())

    steps = max(1, len(train.samples) // config.batch)
    task = Task(model, batches, steps, loss, validate)
    fitted = fit(
        task,
        stage="train segmenter",
        epochs=config.epochs,
        learning_rate=config.learning_rate,
        seed=line.seed,
        checkpoint=checkpoint,
    )
    return model, fitted


def fit_patchcore(
    home: Home, line: LineConfig, dataset: Dataset, threads: int
) -> tuple[PatchCore, dict[str, Any]]:
    """Fill a memory bank with a coreset of the patches of good training images."""
    good = [sample for sample in dataset.split("train") if not sample.is_defect]
    if len(good) < MIN_PER_KIND:
        msg = f"line {line.name}: {len(good)} good training images; PatchCore needs {MIN_PER_KIND}"
        raise TrainingError(msg)
    features = PatchFeatures(line.backbone, line.anomaly, line.seed)
    pixels = load_pixels(home, good, line.anomaly.size, masks=False, threads=threads)
    per_image = max(1, _CANDIDATES // len(good))
    generator = torch.Generator().manual_seed(line.seed)
    kept = []
    with torch.inference_mode():
        for images in track(_chunks(pixels), "embed", -(-len(good) // _EVALUATION_BATCH)):
            patches = features(images)[0].permute(0, 2, 3, 1).flatten(1, 2)
            for one in patches:
                kept.append(one[torch.randperm(len(one), generator=generator)[:per_image]])
        candidates = torch.cat(kept)
        chosen = greedy_coreset(candidates, line.anomaly.bank, line.seed)
    facts = {"good_images": len(good), "candidates": len(candidates), "bank": len(chosen)}
    return PatchCore(features, candidates[chosen].clone()), facts


def segmentation_loss(logits: Tensor, masks: Tensor, *, mean: bool = True) -> Tensor:
    """Binary cross-entropy plus soft Dice per image (Milletari et al., 3DV 2016)."""
    entropy = functional.binary_cross_entropy_with_logits(logits, masks, reduction="none")
    probability = torch.sigmoid(logits)
    overlap = (probability * masks).sum(dim=(1, 2, 3))
    total = probability.sum(dim=(1, 2, 3)) + masks.sum(dim=(1, 2, 3))
    # One pixel of smoothing: an empty prediction on a good image costs nothing.
    dice = 1 - (2 * overlap + 1) / (total + 1)
    each = entropy.mean(dim=(1, 2, 3)) + dice
    return each.mean() if mean else each


def _chunks(pixels: Pixels) -> Iterable[Tensor]:
    for start in range(0, len(pixels.images), _EVALUATION_BATCH):
        yield to_tensor(pixels.images[start : start + _EVALUATION_BATCH])


def _masks(pixels: Pixels, index: Any) -> Tensor:
    assert pixels.masks is not None
    return torch.from_numpy(pixels.masks[index]).float()[:, None]


def _class(sample: Sample, classes: tuple[str, ...]) -> int:
    """Class index; a defect type that training never saw counts as the first defect."""
    if not sample.is_defect:
        return 0
    return classes.index(sample.defect_type) if sample.defect_type in classes else 1


def _is_defect(pixels: Pixels) -> Any:
    return np.array([sample.is_defect for sample in pixels.samples])


def _balance(is_defect: Any) -> Tensor:
    """Weights that sum to one and give good and defective images the same say."""
    weights = np.where(is_defect, 1 / max(is_defect.sum(), 1), 1 / max((~is_defect).sum(), 1))
    return torch.from_numpy(weights / weights.sum()).float()


def _require_two_kinds(line: LineConfig, dataset: Dataset, model: str, extra: str = "") -> None:
    train = dataset.split("train")
    for label in ("ok", "defect"):
        count = sum(sample.label == label for sample in train)
        if count < MIN_PER_KIND:
            msg = (
                f"line {line.name}: {count} training images are {label}{extra}; a {model} needs "
                f"at least {MIN_PER_KIND}. Label more, or leave the {model} out of `models`"
            )
            raise TrainingError(msg)
