"""From a map of defect probabilities to the pixels that are called defect."""

import cv2
import numpy as np
import numpy.typing as npt

from ml.bundle.card import MaskRule

Flags = npt.NDArray[np.bool_]


def draw_mask(defect_map: npt.NDArray[np.float32], rule: MaskRule) -> Flags:
    """The regions that count under `rule`: `[H, W]` of a map `[H, W]`."""
    wide = defect_map > rule.extent
    if rule.seed <= rule.extent:
        return np.asarray(wide)
    seeds = defect_map > rule.seed
    most = rule.area * wide.size
    if not seeds.any() and np.count_nonzero(wide) <= most:
        return np.zeros_like(wide)
    count, labels = cv2.connectedComponents(wide.astype(np.uint8), connectivity=8)
    kept = np.bincount(labels.ravel(), minlength=count) > most
    kept[labels[seeds]] = True
    kept[0] = False
    return np.asarray(kept.take(labels))
