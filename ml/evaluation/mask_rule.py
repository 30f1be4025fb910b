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

# Log-odds that are tried.
_EXTENTS = np.arange(-3.0, 2.1, 0.5)
_SEEDS = np.arange(-3.0, 12.1, 0.5)
_DIGITS = 6


class MaskRuleChoice:
    """Gathers what each rule would draw while validation is scored; then takes the best.

    The seed is the lowest at which no more than `most_false` of the good images have a region; the
    extent is the one of the highest Dice, per image, averaged over the defect types.
    """

    def __init__(self, home: Home, most_false: float) -> None:
        self._home = home
        self._most_false = most_false
        self._peaks: list[float] = []
        self._dice: dict[str, list[Numbers]] = defaultdict(list)

    def see(self, sample: Sample, scored: Scored) -> None:
        """Take in one image; raises LeakError when it is not of validation."""
        if sample.split != "validation":
            msg = f"image {sample.sha256} is of {sample.split}; a mask rule is of validation only"
            raise LeakError(msg)
        assert scored.defect_map is not None
        if not sample.is_defect:
            self._peaks.append(float(scored.defect_map.max()))
            return
        if not sample.mask:
            return
        height, width = scored.defect_map.shape
        mask = resize_mask(read_mask(self._home, sample.mask), (height, width))
        if mask.any():
            rows = [dice_by_seed(scored.defect_map, mask, extent) for extent in _odds(_EXTENTS)]
            self._dice[sample.defect_type].append(np.array(rows))

    def choose(self) -> tuple[MaskRule, list[str]]:
        """The rule, and what the card must warn of."""
        if not self._peaks or not self._dice:
            # Nothing says where defects end.
            return MaskRule(), []
        false = [float((np.array(self._peaks) > seed).mean()) for seed in _odds(_SEEDS)]
        allowed = [place for place, rate in enumerate(false) if rate <= self._most_false]
        seed = allowed[0] if allowed else len(_SEEDS) - 1
        dice = np.mean([np.mean(images, axis=0) for images in self._dice.values()], axis=0)
        extent = int(np.argmax(np.where(_SEEDS[seed] >= _EXTENTS, dice[:, seed], -1)))
        warnings = []
        if not allowed:
            warnings.append(
                f"The segmenter marks {false[seed]:.1%} of the good validation images whatever the "
                f"threshold; at most {self._most_false:.1%} are wanted."
            )
        rule = (
            round(float(_odds(log_odds)), _DIGITS) for log_odds in (_EXTENTS[extent], _SEEDS[seed])
        )
        return MaskRule(extent=next(rule), seed=next(rule)), warnings


def dice_by_seed(defect_map: Floats, truth: Flags, extent: float) -> Numbers:
    """Dice of the masks that regions above `extent` make under each of the seeds tried: `[S]`."""
    count, labels = cv2.connectedComponents((defect_map > extent).astype(np.uint8), connectivity=8)
    peaks = np.zeros(count, np.float32)
    np.maximum.at(peaks, labels, defect_map)
    found, hits = (np.bincount(labels[among], minlength=count) for among in (labels > 0, truth))
    kept = (peaks[1:, None] > _odds(_SEEDS)).astype(np.float64)
    drawn, right = found[1:] @ kept, hits[1:] @ kept
    return np.asarray(2 * right / (drawn + truth.sum()))


def _odds(log_odds: Numbers) -> Numbers:
    return np.asarray(1 / (1 + np.exp(-log_odds)))
