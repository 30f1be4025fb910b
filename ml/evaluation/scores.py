"""Scores of a split. Validation and test have types of their own: fitting takes no test scores."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml.data.dataset import Sample, read_mask, read_rgb
from ml.evaluation.metrics import auroc, dice
from ml.imaging import resize_rgb
from ml.inference.engine import Floats, ModelSet
from ml.progress import Progress
from ml.settings import Home

_BATCH = 16

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Scores:
    """Raw scores by model, each `[N]`, and what belongs to each image, in the samples' order.

    `dice` and `pixel_auroc` are by model with maps, NaN where the image has no mask.
    """

    samples: tuple[Sample, ...]
    raw: dict[str, Numbers]
    embeddings: Floats
    dice: dict[str, Numbers]
    pixel_auroc: dict[str, Numbers]

    @property
    def is_defect(self) -> npt.NDArray[np.bool_]:
        return np.array([sample.is_defect for sample in self.samples], bool)

    @property
    def groups(self) -> npt.NDArray[np.str_]:
        return np.array([sample.group for sample in self.samples], str)


class ValidationScores(_Scores):
    """Thresholds, calibration and fusion may be fitted on these."""


class TestScores(_Scores):
    """Only measured, never fitted on."""

    __test__ = False  # not a test case, whatever its name looks like


def score_validation(
    home: Home, models: ModelSet, samples: tuple[Sample, ...], threads: int
) -> ValidationScores:
    """Score validation images."""
    return ValidationScores(**_score(home, models, samples, threads, "score validation"))


def score_test(
    home: Home, models: ModelSet, samples: tuple[Sample, ...], threads: int
) -> TestScores:
    """Score held-out test images."""
    return TestScores(**_score(home, models, samples, threads, "score test"))


def _score(
    home: Home, models: ModelSet, samples: tuple[Sample, ...], threads: int, stage: str
) -> dict[str, object]:
    raw: dict[str, list[float]] = {}
    dices: dict[str, list[float]] = {}
    pixel: dict[str, list[float]] = {}
    embeddings = []
    with Progress(stage, len(samples)) as progress, ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(samples), _BATCH):
            chunk = samples[start : start + _BATCH]
            images = list(pool.map(lambda sample: read_rgb(home, sample.sha256), chunk))
            for sample, scored in zip(chunk, models.score(images), strict=True):
                for name, value in scored.scores.items():
                    raw.setdefault(name, []).append(value)
                embeddings.append(scored.embedding)
                mask = _mask(home, sample)
                for name, heat in (
                    ("segmenter", scored.defect_map),
                    ("anomaly", scored.anomaly_map),
                ):
                    if heat is not None:
                        pixel.setdefault(name, []).append(_pixel_auroc(heat, mask))
                if scored.defect_map is not None:
                    dices.setdefault("segmenter", []).append(_dice(scored.defect_map, mask))
            progress.step(len(chunk))
    return {
        "samples": samples,
        "raw": {name: np.array(values) for name, values in raw.items()},
        "embeddings": np.array(embeddings, np.float32),
        "dice": {name: np.array(values) for name, values in dices.items()},
        "pixel_auroc": {name: np.array(values) for name, values in pixel.items()},
    }


def _mask(home: Home, sample: Sample) -> npt.NDArray[np.bool_] | None:
    return read_mask(home, sample.mask) if sample.mask else None


def _at_size_of(mask: npt.NDArray[np.bool_], heat: Floats) -> npt.NDArray[np.bool_]:
    height, width = heat.shape
    stacked = np.repeat(mask.astype(np.uint8)[..., None] * 255, 3, axis=2)
    return resize_rgb(stacked, (height, width))[..., 0] >= 77  # 0.3 of what a pixel covers


def _pixel_auroc(heat: Floats, mask: npt.NDArray[np.bool_] | None) -> float:
    if mask is None:
        return float("nan")
    return auroc(heat.ravel().astype(float), _at_size_of(mask, heat).ravel())


def _dice(heat: Floats, mask: npt.NDArray[np.bool_] | None) -> float:
    return float("nan") if mask is None else dice(heat > 0.5, _at_size_of(mask, heat))
