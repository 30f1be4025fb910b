"""How well the maps of a split find the defect's pixels."""

import cv2
import numpy as np

from ml.data.dataset import Sample, read_mask
from ml.evaluation.metrics import area_under_roc, mean
from ml.evaluation.scores import Flags, Numbers
from ml.inference.engine import MASK_THRESHOLD, Floats, Scored
from ml.settings import Home

# Pixels are counted in bins of their score: millions of pixels, resampled a thousand times.
_BINS = 256
# A resized mask pixel is defect when this share of what it covers is: small defects stay.
_MASK_SHARE = 0.3


class MapEvidence:
    """Gathers maps while images are scored; afterwards gives pixel metrics under any weights.

    A good image has an empty mask. A defect without a mask is left out.
    """

    def __init__(self, home: Home, sizes: dict[str, tuple[int, int]]) -> None:
        self._home = home
        self._sizes = sizes
        self._maps: dict[str, list[Floats]] = {}
        self._masks: dict[str, list[Flags]] = {}
        self._dice: list[float] = []
        self._usable: list[bool] = []
        self._with_mask: list[bool] = []

    def see(self, sample: Sample, scored: Scored) -> None:
        """Keep what pixel metrics need of one image."""
        self._usable.append(bool(sample.mask) or not sample.is_defect)
        self._with_mask.append(bool(sample.mask))
        truth = read_mask(self._home, sample.mask) if sample.mask else None
        maps = {"segmenter": scored.defect_map, "anomaly": scored.anomaly_map}
        for name, found in maps.items():
            if found is None:
                continue
            mask = _resized(truth, self._sizes[name])
            self._maps.setdefault(name, []).append(found.astype(np.float16))
            self._masks.setdefault(name, []).append(mask)
            if name == "segmenter":
                self._dice.append(_dice(found > MASK_THRESHOLD, mask))

    @property
    def models(self) -> tuple[str, ...]:
        """The models with maps."""
        return tuple(self._maps)

    @property
    def usable(self) -> Flags:
        """Images whose every pixel has a known label."""
        return np.array(self._usable, bool)

    @property
    def with_mask(self) -> Flags:
        """Images with a mask."""
        return np.array(self._with_mask, bool)

    def dice(self, weights: Numbers) -> Numbers:
        """Mean Dice of the segmenter's masks over images with a mask, `[R]`."""
        return mean(np.array(self._dice), self.with_mask, weights)

    def pixel_auroc(self, name: str, weights: Numbers) -> Numbers:
        """Area under the ROC curve over the pixels of all usable images together, `[R]`."""
        pairs = list(zip(self._maps[name], self._masks[name], strict=True))
        kept = [pair for pair, usable in zip(pairs, self._usable, strict=True) if usable]
        edges = _edges([heat for heat, _ in kept])
        counts = np.array([_histogram(heat, mask, edges) for heat, mask in kept])
        used = weights[:, self.usable]
        return area_under_roc(used @ counts[:, 0], used @ counts[:, 1])


def _resized(mask: Flags | None, size: tuple[int, int]) -> Flags:
    if mask is None:
        return np.zeros(size, bool)
    shown = cv2.resize(mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(shown >= _MASK_SHARE)


def _dice(found: Flags, mask: Flags) -> float:
    total = int(found.sum() + mask.sum())
    return 2 * float((found & mask).sum()) / total if total else 0.0


def _edges(maps: list[Floats]) -> Numbers:
    """Bin edges: at equal distances, and at quantiles, finest at the top, where defects are."""
    pixels = np.concatenate([heat.ravel()[:: max(1, heat.size // 4096)] for heat in maps])
    levels = np.r_[np.linspace(0, 1, _BINS)[1:-1], 1 - np.geomspace(1e-5, 1 / _BINS, _BINS)]
    quantiles = np.quantile(pixels.astype(np.float64), np.sort(levels))
    even = np.linspace(float(pixels.min()), float(pixels.max()), _BINS)
    return np.unique(np.r_[quantiles, even[1:]])


def _histogram(heat: Floats, mask: Flags, edges: Numbers) -> Numbers:
    large = cv2.resize(heat.astype(np.float32), mask.shape[::-1], interpolation=cv2.INTER_LINEAR)
    bins = np.searchsorted(edges, large.ravel(), side="right")
    flat = mask.ravel()
    count = len(edges) + 1
    return np.stack(
        [np.bincount(bins[flat], minlength=count), np.bincount(bins[~flat], minlength=count)]
    ).astype(np.float64)
