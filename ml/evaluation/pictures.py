"""Pictures of test images for the report: the part, and each model's map with the true mask."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ml.data.dataset import Sample, read_mask, read_rgb
from ml.evaluation.plots import photo_uri
from ml.evaluation.scores import Flags
from ml.imaging import Pixels
from ml.inference.engine import Floats, Inspector
from ml.inference.explain import heat_maps, outline, overlay, read_head
from ml.inference.verdict import Decision
from ml.settings import Home

# The longer side of a picture in pixels.
_SIDE = 240


@dataclass(frozen=True)
class Picture:
    """One test image: its views by name, as `data:` addresses, and what was decided of it."""

    sample: Sample
    decision: Decision
    views: dict[str, str]


def draw(home: Home, inspector: Inspector, samples: Sequence[Sample]) -> list[Picture]:
    """Pictures of the samples, in their order; a model's colours mean the same on all of them."""
    head = read_head(inspector.bundle)
    pictures, maps = [], []
    for sample in samples:
        image = read_rgb(home, sample.sha256, sample.bits)
        (found,) = inspector.inspect([image])
        pictures.append((sample, found.decision, _fitted(image)))
        maps.append(heat_maps(found.scored, head))
    scales = _scales(maps)
    drawn = []
    for (sample, decision, image), heats in zip(pictures, maps, strict=True):
        mask = _mask(home, sample, image)
        views = {"image": image}
        for name, heat in heats.items():
            low, high = scales[name]
            views[name] = outline(overlay(image, heat - low, high - low), mask)
        uris = {name: photo_uri(view) for name, view in views.items()}
        drawn.append(Picture(sample, decision, uris))
    return drawn


def _scales(maps: list[dict[str, Floats]]) -> dict[str, tuple[float, float]]:
    """The coldest and the hottest value of each model's maps."""
    scales = {
        name: (
            min(float(one[name].min()) for one in maps),
            max(float(one[name].max()) for one in maps),
        )
        for name in (maps[0] if maps else {})
    }
    # Probabilities have a scale of their own: an empty mask must look empty.
    return scales | {name: (0.0, 1.0) for name in scales if name == "segmenter"}


def _fitted(image: Pixels) -> Pixels:
    scale = _SIDE / max(image.shape[:2])
    size = [max(1, round(length * scale)) for length in image.shape[1::-1]]
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size, interpolation=how))


def _mask(home: Home, sample: Sample, image: Pixels) -> Flags:
    shape = image.shape[:2]
    if not sample.mask:
        return np.zeros(shape, bool)
    mask = read_mask(home, sample.mask).astype(np.float32)
    return np.asarray(cv2.resize(mask, shape[::-1], interpolation=cv2.INTER_AREA) > 0)
