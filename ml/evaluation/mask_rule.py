"""Which pixels of a segmenter's map are defect: chosen on validation, and on nothing else."""

from collections import defaultdict

import cv2
import numpy as np

from ml.bundle.card import MaskRule
from ml.data.dataset import Sample, read_mask, resize_mask
from ml.errors import LeakError
from ml.evaluation.scores import Flags, Numbers
from ml.inference.engine import Floats, Scored
from ml.settings import Home

# Log-odds and shares of the image that are tried.
_EXTENTS = np.arange(-3.0, 2.1, 0.5)
_SEEDS = np.arange(-3.0, 12.1, 0.5)
_AREAS = np.array([1.0, 0.4, 0.2, 0.1, 0.05, 0.02, 0.01])
_DIGITS = 6
# With less than this share of validation's defects marked, people will ask where the regions are.
_FEW_DRAWN = 0.5


class MaskRuleChoice:
    """Gathers what each rule would draw while validation is scored; then takes the best.

    Of each extent and area, the seed is the lowest, at or above the extent, at which no more than
    `most_false` of the good images have a region; extent and area are those of the highest Dice,
    per image, averaged over the defect types. Where validation has no mask, which weak labels do
    without, the extent is even odds and no region counts for its size alone.
    """

    def __init__(self, home: Home, most_false: float) -> None:
        self._home = home
        self._most_false = most_false
        # Of each good image: the largest probability, and the largest region at each extent.
        self._peaks: list[float] = []
        self._areas: list[Numbers] = []
        self._dice: dict[str, list[Numbers]] = defaultdict(list)

    def see(self, sample: Sample, scored: Scored) -> None:
        """Take in one image; raises LeakError when it is not of validation."""
        if sample.split != "validation":
            msg = f"image {sample.sha256} is of {sample.split}; a mask rule is of validation only"
            raise LeakError(msg)
        found = scored.defect_map
        assert found is not None
        if not sample.is_defect:
            self._peaks.append(float(found.max()))
            self._areas.append(np.array([largest_region(found, one) for one in _odds(_EXTENTS)]))
            return
        if not sample.mask:
            return
        height, width = found.shape
        mask = resize_mask(read_mask(self._home, sample.mask), (height, width))
        if mask.any():
            dice = [dice_by_rule(found, mask, extent) for extent in _odds(_EXTENTS)]
            self._dice[sample.defect_type].append(np.array(dice))

    def choose(self) -> tuple[MaskRule, list[str]]:
        """The rule, and what the card must warn of."""
        if not self._peaks:
            return MaskRule(), []
        false = self._false_rates()
        warnings = []
        if (false > self._most_false).all():
            warnings.append(
                f"The segmenter marks {false.min():.1%} of the good validation images whatever the "
                f"threshold; at most {self._most_false:.1%} are wanted."
            )
        allowed = false <= max(self._most_false, false.min())
        # A seed below the extent says nothing; each extent has its own lowest one.
        allowed &= _EXTENTS[:, None, None] <= _SEEDS
        lowest = allowed & (np.cumsum(allowed, axis=2) == 1)
        dice = self._mean_dice()
        best = np.unravel_index(np.argmax(np.where(lowest, dice, -1)), dice.shape)
        extent, area, seed = (int(place) for place in best)
        drawn = np.array([image[best] > 0 for images in self._dice.values() for image in images])
        if len(drawn) and drawn.mean() < _FEW_DRAWN:
            warnings.append(
                f"The segmenter marks {drawn.sum()} of {len(drawn)} validation defects where at "
                f"most {self._most_false:.1%} of the good images may be marked; a higher "
                "`segmenter.max_false_regions` marks more of both."
            )
        return MaskRule(
            extent=round(float(_odds(_EXTENTS)[extent]), _DIGITS),
            seed=round(float(_odds(_SEEDS)[seed]), _DIGITS),
            area=float(_AREAS[area]),
        ), warnings

    def _mean_dice(self) -> Numbers:
        """Mean over the defect types, by extent, area and seed: `[E, A, S]`."""
        if self._dice:
            each = [np.mean(images, axis=0) for images in self._dice.values()]
            return np.asarray(np.mean(each, axis=0))
        # Nothing says where defects end.
        asked = np.zeros((len(_EXTENTS), len(_AREAS), len(_SEEDS)))
        asked[_EXTENTS == 0, _AREAS == 1] = 1
        return asked

    def _false_rates(self) -> Numbers:
        """Share of the good images that have a region, by extent, area and seed: `[E, A, S]`."""
        peaks, areas = np.array(self._peaks), np.array(self._areas)
        sure = peaks[:, None] > _odds(_SEEDS)
        rates = [
            [(sure | (largest > area)[:, None]).mean(axis=0) for area in _AREAS]
            for largest in areas.T
        ]
        return np.array(rates)


def largest_region(defect_map: Floats, extent: float) -> float:
    """The largest region above `extent`, as a share of the image."""
    count, _, facts, _ = cv2.connectedComponentsWithStats(
        (defect_map > extent).astype(np.uint8), connectivity=8
    )
    return float(facts[1:, cv2.CC_STAT_AREA].max()) / defect_map.size if count > 1 else 0.0


def dice_by_rule(defect_map: Floats, truth: Flags, extent: float) -> Numbers:
    """Dice of the masks that regions above `extent` make, by area and seed: `[A, S]`."""
    count, labels = cv2.connectedComponents((defect_map > extent).astype(np.uint8), connectivity=8)
    peaks = np.zeros(count, np.float32)
    np.maximum.at(peaks, labels, defect_map)
    found, hits = (np.bincount(labels[among], minlength=count) for among in (labels > 0, truth))
    wide = found[1:, None] > _AREAS * defect_map.size
    kept = (wide[:, :, None] | (peaks[1:, None, None] > _odds(_SEEDS))).astype(np.float64)
    drawn, right = (np.tensordot(of[1:], kept, axes=1) for of in (found, hits))
    return np.asarray(2 * right / (drawn + truth.sum()))


def _odds(log_odds: Numbers) -> Numbers:
    return np.asarray(1 / (1 + np.exp(-log_odds)))
