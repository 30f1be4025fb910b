"""What a trial is worth: a figure of its raw scores on validation; lower is better."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
from torch import nn

from ml.data.dataset import Dataset
from ml.errors import DataError, LeakError
from ml.evaluation import metrics
from ml.evaluation.calibrate import fit, probabilities
from ml.evaluation.prevalence import at_prevalence
from ml.evaluation.scores import ValidationScores, score
from ml.evaluation.thresholds import verdicts
from ml.inference.engine import ModelSet
from ml.settings import Home
from ml.settings.line import CostsConfig
from ml.settings.models import ModelName
from ml.training.export import OUTPUTS, export_onnx

Objective = Literal["f2", "cost"]


def score_validation(
    home: Home, data: Dataset, model: ModelName, network: nn.Module, size: tuple[int, int],
    tiled: bool, threads: int,
) -> ValidationScores:  # fmt: skip
    """The raw scores of a fitted network on validation, as the night would give them.

    `size` is that of its input; `tiled` says that inputs are tiles, whose maps are merged.
    Raises DataError when validation lacks good or defective images.
    """
    samples = data.split("validation")
    kinds = {sample.is_defect for sample in samples}
    if len(kinds) < 2:
        lacks = "defective" if kinds == {False} else "good"
        msg = f"dataset {data.name}: validation has no {lacks} images; a search needs both kinds"
        raise DataError(msg)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(network, OUTPUTS[model], size, path)
        models = ModelSet({model: path}, {model: size}, threads, tiled=[model] if tiled else [])
        return score(ValidationScores, home, models, samples, threads)


def value(objective: Objective, validation: ValidationScores, costs: CostsConfig) -> float:
    """1 - F2 at its best threshold, or the cost an image at the thresholds of the line's costs.

    Raises LeakError when the scores are not of validation.
    """
    if not isinstance(validation, ValidationScores):
        msg = f"a search may look at validation only, not at {type(validation).__name__}"
        raise LeakError(msg)
    return 1 - best_f2(validation) if objective == "f2" else cost(validation, costs)


def shown(objective: Objective, value: float) -> float:
    """The figure that a person knows of a value: F2, or the cost."""
    return 1 - value if objective == "f2" else value


def best_f2(validation: ValidationScores) -> float:
    """F2 of the raw score at the threshold where it is highest."""
    (raw,) = validation.raw.values()
    defect = validation.is_defect
    once = np.ones((1, len(raw)))
    found = [metrics.f_beta(raw >= edge, defect, once, 2)[0] for edge in np.unique(raw)]
    return float(max(found))


def cost(validation: ValidationScores, costs: CostsConfig) -> float:
    """Mean cost of an image when calibrated scores are judged by the line's costs."""
    fitted = fit(validation, costs)
    passed, failed = verdicts(probabilities(fitted, validation.raw), fitted.thresholds)
    defect = validation.is_defect
    paid = np.full(len(defect), costs.review)
    paid[passed] = np.where(defect, costs.escape, 0.0)[passed]
    paid[failed] = np.where(defect, 0.0, costs.overkill)[failed]
    weights = at_prevalence(np.ones((1, len(defect))), defect, costs.prevalence)
    return float(metrics.mean(paid, np.ones(len(defect), bool), weights)[0])
