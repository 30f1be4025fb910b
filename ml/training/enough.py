"""What a dataset must hold before a model can be fitted on it."""

from collections.abc import Iterable

from ml.data.dataset import Dataset, Sample
from ml.errors import TrainingError
from ml.settings import LineConfig
from ml.settings.models import ModelName
from ml.training.pixels import Pixels

# Fewer images of a kind teach nothing.
MIN_PER_KIND = 4


def class_names(samples: Iterable[Sample]) -> tuple[str, ...]:
    """`ok`, then the defect types of the training images in alphabetical order."""
    return ("ok", *sorted({sample.defect_type for sample in samples if sample.is_defect}))


def require_model(line: LineConfig, model: ModelName) -> None:
    """Raises TrainingError when the line does not use the model."""
    if model not in line.models:
        msg = f"line {line.name} has no {model}; its `models` are {', '.join(line.models)}"
        raise TrainingError(msg)


def require_mask_source(line: LineConfig) -> None:
    """Raises TrainingError when the line has a segmenter, but can have no mask to teach it."""
    if "segmenter" in line.models and not (
        line.source.layout.has_masks or line.segmenter.weak_labels
    ):
        msg = (
            f"line {line.name} has a segmenter, but layout `{line.source.layout.kind}` gives no "
            "masks: leave it out of `models`, name a `mask` column of a manifest, or set "
            "`segmenter.weak_labels`"
        )
        raise TrainingError(msg)


def require_two_kinds(
    line: LineConfig, dataset: Dataset, model: ModelName, extra: str = ""
) -> None:
    """Raises TrainingError naming the kind of image that is missing or too rare.

    `extra` says what else the images must have, such as " with a mask".
    """
    train = dataset.split("train")
    for label in ("ok", "defect"):
        count = sum(sample.label == label for sample in train)
        if count < MIN_PER_KIND:
            asked = extra if label == "defect" else ""
            msg = (
                f"line {line.name}, dataset {dataset.name}: {count} training images are "
                f"{label}{asked}; a {model} needs at least {MIN_PER_KIND}. Label more, or leave "
                f"the {model} out of `models`"
            )
            raise TrainingError(msg)
    if not dataset.split("validation"):
        msg = (
            f"line {line.name}, dataset {dataset.name}: no validation images{extra}; a {model} "
            "needs some to choose its best epoch. Ingest more groups"
        )
        raise TrainingError(msg)


def require_drawn(line: LineConfig, pixels: Pixels) -> None:
    """Raises TrainingError when thresholding found too few of the defects without a mask."""
    count = sum(sample.is_defect for sample in pixels.samples)
    if count < MIN_PER_KIND:
        msg = (
            f"line {line.name}: thresholding found {count} of the training defects; a segmenter "
            f"needs at least {MIN_PER_KIND}. Draw masks, or leave the segmenter out of `models`"
        )
        raise TrainingError(msg)


def require_good(line: LineConfig, dataset: Dataset) -> list[Sample]:
    """The good training images; raises TrainingError when they are too few for PatchCore."""
    good = [sample for sample in dataset.split("train") if not sample.is_defect]
    if len(good) < MIN_PER_KIND:
        msg = (
            f"line {line.name}, dataset {dataset.name}: {len(good)} training images are ok; an "
            f"anomaly model needs at least {MIN_PER_KIND}. Ingest more good parts, or leave "
            "`anomaly` out of `models`"
        )
        raise TrainingError(msg)
    return good
