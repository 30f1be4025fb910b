"""From a map of defect probabilities to the pixels that are called defect."""

import cv2
import numpy as np
import numpy.typing as npt

from ml.bundle.card import MaskRule

Flags = npt.NDArray[np.bool_]


def draw_mask(defect_map: npt.NDArray[np.float32], rule: MaskRule) -> Flags:
    """Regions above `rule.extent` that reach above `rule.seed`: `[H, W]` of a map `[H, W]`."""
    wide = defect_map > rule.extent
    if rule.seed <= rule.extent or not wide.any():
        return np.asarray(wide)
    count, labels = cv2.connectedComponents(wide.astype(np.uint8), connectivity=8)
    kept = np.zeros(count, bool)
    kept[labels[defect_map > rule.seed]] = True
    return np.asarray(kept[labels])
