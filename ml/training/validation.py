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


def validation_metrics(
    model: ModelName, network: nn.Module, pixels: Pixels
) -> dict[str, float | None]:
    """AUROC and average precision of the raw scores; for a segmenter also the mean Dice.

    That is the mean over the defects with a mask. A figure is None where validation lacks what it
    needs (both kinds of image, masks).
    """
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
    is_defect = np.array([sample.is_defect for sample in pixels.samples], bool)
    found = _ranking(is_defect, np.concatenate(scores))
    if pixels.masks is not None:
        found["dice"] = float(np.mean(dice)) if dice else None
    return found


def _dice(found: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> list[float]:
    """Dice of each image that has a defect."""
    hits, drawn, true = (pixels.sum(axis=(1, 2)) for pixels in (found & truth, found, truth))
    return (2 * hits / np.maximum(drawn + true, 1))[true > 0].tolist()  # type: ignore[no-any-return]


def _ranking(
    is_defect: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64]
) -> dict[str, float | None]:
    from sklearn.metrics import average_precision_score, roc_auc_score

    if is_defect.all() or not is_defect.any():
        return {"auroc": None, "ap": None}
    return {
        "auroc": float(roc_auc_score(is_defect, scores)),
        "ap": float(average_precision_score(is_defect, scores)),
    }
