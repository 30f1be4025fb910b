"""Synthetic anomalies, for validation without real ones: pieces of a good image, moved and relit.

After CutPaste (Li et al., CVPR 2021, arXiv:2104.04015). They say which model sees more; how many
real defects are found they cannot say.
"""

from math import sqrt

import cv2
import numpy as np
import numpy.typing as npt

from ml.ahead import in_batches, run_ahead
from ml.data.dataset import Sample, read_rgb
from ml.evaluation.scores import Models, Numbers, ValidationScores
from ml.inference.engine import Prepared
from ml.progress import Progress
from ml.settings import Home

# Damaged images: enough for a handful of weights.
_MOST = 200
_BATCH = 16
# Share of the image that is damaged, and width to length of the piece: from scars to squares.
_AREA = (0.002, 0.05)
_ASPECT = (0.1, 1.0)
# Change of light of the piece, in each channel.
_GAIN = (0.1, 0.4)


def synthetic_scores(
    home: Home, models: Models, validation: ValidationScores, seed: int, threads: int
) -> dict[str, Numbers]:
    """Raw scores `[N]` by model of damaged good validation images, each damaged once.

    Empty where validation has a real defect. Equal seeds damage alike.
    """
    if validation.is_defect.any():
        return {}
    good = validation.samples[:: -(-len(validation.samples) // _MOST)]

    def prepare(sample: Sample) -> Prepared:
        random = np.random.default_rng([seed, *bytes.fromhex(sample.sha256)])
        return models.prepare(damaged(read_rgb(home, sample.sha256, sample.bits), random))

    raw: dict[str, list[float]] = {name: [] for name in validation.raw}
    opened = run_ahead(prepare, good, threads=threads, ahead=2 * _BATCH)
    with Progress("score synthetic anomalies", len(good)) as progress:
        for batch in in_batches(opened, _BATCH):
            for scored in models.score_prepared(batch):
                for name, value in scored.scores.items():
                    raw[name].append(value)
            progress.step(len(batch))
    return {name: np.array(values) for name, values in raw.items()}


def damaged(image: npt.NDArray[np.uint8], random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """The image `[H, W, 3]` with a turned rectangle of another place of it, in another light."""
    height, width = image.shape[:2]
    area = height * width * np.exp(random.uniform(*np.log(_AREA)))
    aspect = np.exp(random.uniform(*np.log(_ASPECT)))
    sides = (max(2.0, sqrt(area / aspect)), max(2.0, sqrt(area * aspect)))
    centre = (random.uniform(0.1, 0.9) * width, random.uniform(0.1, 0.9) * height)
    corners = cv2.boxPoints((centre, sides, random.uniform(0, 180)))
    inside = np.zeros((height, width), np.uint8)
    cv2.fillConvexPoly(inside, np.round(corners).astype(np.int32), 1)
    moves = [int(random.uniform(0.25, 0.75) * side) for side in (height, width)]
    gain = 1 + random.uniform(*_GAIN, 3) * random.choice([-1, 1])
    elsewhere = np.clip(np.roll(image, moves, axis=(0, 1)) * gain, 0, 255).astype(np.uint8)
    return np.where(inside[..., None] == 1, elsewhere, image)
