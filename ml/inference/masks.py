"""From a map of defect probabilities to the pixels that are called defect."""

import cv2
import numpy as np
import numpy.typing as npt

from ml.bundle.card import MaskRule

Flags = npt.NDArray[np.bool_]


def draw_mask(defect_map: npt.NDArray[np.float32], rule: MaskRule) -> Flags:
    """The regions that count under `rule`: `[H, W]` of a map `[H, W]`."""
    wide = defect_map > rule.extent
    if rule.seed <= rule.extent or not wide.any():
        return np.asarray(wide)
    count, labels = cv2.connectedComponents(wide.astype(np.uint8), connectivity=8)
    kept = np.bincount(labels.ravel(), minlength=count) > rule.area * wide.size
    kept[labels[defect_map > rule.seed]] = True
    kept[0] = False
    return np.asarray(kept[labels])
