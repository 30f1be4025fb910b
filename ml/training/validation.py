"""What a fitted model does on validation: a first look, logged with the run.

The figures that count are measured by `ml.evaluation` on held-out test groups.
"""

import numpy as np
import numpy.typing as npt
from torch import nn

from ml.settings.models import ModelName
from ml.training.device import device
from ml.training.export import named_outputs, raw_scores
from ml.training.pixels import Pixels, chunks
from ml.training.sampling import is_defect


def validation_metrics(
    model: ModelName, network: nn.Module, pixels: Pixels
) -> dict[str, float | None]:
    """AUROC and average precision of the raw scores; for a segmenter also the mean Dice.

    That is the mean over the defects with a mask. A figure is None where validation lacks what it
    needs (both kinds of image, masks).
    """
    return metrics_of(pixels, *validation_scores(model, network, pixels))


def metrics_of(
    pixels: Pixels, scores: npt.NDArray[np.float64], dice: list[float]
) -> dict[str, float | None]:
    """The metrics of what `validation_scores` found."""
    found = _ranking(is_defect(pixels), scores)
    if pixels.masks is not None:
        found["dice"] = float(np.mean(dice)) if dice else None
    return found


def validation_scores(
    model: ModelName, network: nn.Module, pixels: Pixels
) -> tuple[npt.NDArray[np.float64], list[float]]:
    """The raw score of each image, and of a segmenter the Dice of each defect with a mask."""
    network = network.eval().to(device())
    scores = [np.zeros(0)]
    dice: list[float] = []
    done = 0
    for images in chunks(pixels):
        outputs = named_outputs(model, network, images)
        scores.append(raw_scores(model, outputs))
        if pixels.masks is not None:
            dice += _dice(outputs["logits"][:, 0] > 0, pixels.masks[done : done + len(images)] > 0)
        done += len(images)
    return np.concatenate(scores), dice


def _dice(found: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> list[float]:
    """Dice of each image that has a defect."""
    hits, drawn, true = (pixels.sum(axis=(1, 2)) for pixels in (found & truth, found, truth))
    return (2 * hits / np.maximum(drawn + true, 1))[true > 0].tolist()  # type: ignore[no-any-return]


def _ranking(
    defect: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64]
) -> dict[str, float | None]:
    from sklearn.metrics import average_precision_score, roc_auc_score

    if defect.all() or not defect.any():
        return {"auroc": None, "ap": None}
    return {
        "auroc": float(roc_auc_score(defect, scores)),
        "ap": float(average_precision_score(defect, scores)),
    }
