"""How well a segmenter's masks cover the true ones."""

from collections.abc import Sequence

import numpy as np

from ml.evaluation.metrics import mean, ratio
from ml.evaluation.scores import Flags, Numbers


class MaskOverlap:
    """Counts of pixels by image, and the metrics `[R]` that follow from them under any weights."""

    def __init__(self) -> None:
        self._counts: list[tuple[int, int, int]] = []

    def add(self, found: Flags, truth: Flags) -> None:
        """One image: where the segmenter and where the mask has a defect, `[H, W]`."""
        self._counts.append((int((found & truth).sum()), int(found.sum()), int(truth.sum())))

    @property
    def dice(self) -> Numbers:
        """Dice of each image; NaN where there is neither a defect nor a false pixel."""
        hits, found, truth = self._columns()
        return ratio(2 * hits, found + truth)

    @property
    def touched(self) -> Flags:
        """Images in which the segmenter finds a pixel of the defect."""
        return np.asarray(self._columns()[0] > 0)

    @property
    def marked(self) -> Flags:
        """Images in which the segmenter sees a defect."""
        return np.asarray(self._columns()[1] > 0)

    def per_image(self, among: Flags, weights: Numbers) -> dict[str, Numbers]:
        """Mean Dice and IoU over the images in `among`."""
        hits, found, truth = self._columns()
        iou = ratio(hits, found + truth - hits)
        return {"dice": mean(self.dice, among, weights), "iou": mean(iou, among, weights)}

    def pooled(self, among: Flags, weights: Numbers) -> dict[str, Numbers]:
        """Dice and IoU of the pixels of all images in `among` together: large defects rule it."""
        hits, found, truth = self._columns()[:, among] @ weights[:, among].T
        return {
            "dice_pooled": ratio(2 * hits, found + truth),
            "iou_pooled": ratio(hits, found + truth - hits),
        }

    def macro(self, types: Sequence[str], among: Flags, weights: Numbers) -> Numbers:
        """Mean over the defect types of the mean Dice of their images in `among`.

        A type that a resample lacks is left out of that resample.
        """
        names = np.array(types, dtype=str)
        each = [
            mean(self.dice, among & (names == name), weights) for name in np.unique(names[among])
        ]
        known = ~np.isnan(each)
        return ratio(np.nan_to_num(each).sum(axis=0), known.sum(axis=0))

    def _columns(self) -> Numbers:
        return np.array(self._counts, np.float64).reshape(-1, 3).T
