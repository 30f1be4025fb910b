"""How well heat maps rank the pixels of defects above all others, in bounded memory."""

import cv2
import numpy as np

from ml.evaluation.metrics import area_under_pro, area_under_roc
from ml.evaluation.scores import Flags, Numbers
from ml.inference.engine import Floats

# Where good pixels are cut into quantiles: finest at the top, where false alarms are.
_GOOD_LEVELS = np.r_[np.arange(256) / 256, 1 - np.geomspace(1 / 256, 1e-5, 128)[1:]]
_DEFECT_LEVELS = np.arange(256) / 256
# Images whose histograms are in memory at the same time.
_CHUNK = 256


class PixelRanking:
    """Gathers the maps of one model; afterwards gives its pixel metrics under any weights.

    Keeps some 380 quantiles of an image's good pixels and 256 of its defects': 3 to 6 kB.
    """

    def __init__(self) -> None:
        # An image each: row 0 scores, row 1 the pixels that each stands for; of defects also
        # row 2, those pixels over the size of their region.
        self._good: list[Floats] = []
        self._defects: list[Floats] = []

    def add(self, heat: Floats, mask: Flags) -> None:
        """One image: its map `[h, w]`, enlarged to the mask, and where its defects are `[H, W]`."""
        large = cv2.resize(heat, mask.shape[::-1], interpolation=cv2.INTER_LINEAR)
        good = np.sort(large[~mask])
        self._good.append(_quantiles(good, np.ones((1, len(good))), _GOOD_LEVELS))
        order = np.argsort(large[mask], kind="stable")
        weights = np.stack([np.ones(len(order)), _shares_of_regions(mask)[order]])
        self._defects.append(_quantiles(large[mask][order], weights, _DEFECT_LEVELS))

    def measure(self, weights: Numbers) -> dict[str, Numbers]:
        """Metrics `[R]` over the pixels of all images together, from weights `[R, N]`.

        `pixel_auroc`, and `aupro` (Bergmann et al., IJCV 2021) with 8-connected regions.
        """
        edges = np.union1d(
            _edges(np.hstack(self._good), _GOOD_LEVELS),
            _edges(np.hstack(self._defects), _DEFECT_LEVELS),
        )
        # A bin for each of these scores alone, and one between: what sets an edge has no side.
        edges = np.union1d(edges, np.nextafter(edges, np.inf))
        counts = np.zeros((3, len(weights), len(edges) + 1))
        for start in range(0, len(self._good), _CHUNK):
            some = slice(start, start + _CHUNK)
            pairs = zip(self._good[some], self._defects[some], strict=True)
            found = np.array([_histograms(good, defects, edges) for good, defects in pairs])
            counts += np.stack([weights[:, some] @ found[:, row] for row in range(len(counts))])
        negatives, positives, regions = counts
        return {
            "pixel_auroc": area_under_roc(positives, negatives),
            "aupro": area_under_pro(regions, negatives),
        }


def _quantiles(scores: Floats, weights: Numbers, levels: Numbers) -> Floats:
    """Rising scores `[N]` and their weights `[k, N]` as fewer points: medians, summed weights."""
    if not len(scores):
        return np.zeros((1 + len(weights), 0), np.float32)
    # Equal scores stay together.
    starts = np.unique(np.searchsorted(scores, scores[(levels * len(scores)).astype(int)]))
    last = np.append(starts[1:], len(scores)) - 1
    medians = (scores[(starts + last) // 2] + scores[(starts + last + 1) // 2]) / 2
    return np.vstack([medians, np.add.reduceat(weights, starts, axis=1)]).astype(np.float32)


def _edges(points: Floats, levels: Numbers) -> Numbers:
    """Edges of the bins that all images share: quantiles by the last row of the points."""
    order = np.argsort(points[0], kind="stable")
    below = np.cumsum(points[-1, order], dtype=np.float64)
    if not len(order):
        return np.zeros(0)
    found = np.searchsorted(below, levels * below[-1])
    return np.asarray(points[0, order[np.minimum(found, len(order) - 1)]], np.float64)


def _histograms(good: Floats, defects: Floats, edges: Numbers) -> Numbers:
    """Weights by bin `[3, B]` of one image: good pixels, defect pixels, shares of regions."""
    rows = [(good, 1), (defects, 1), (defects, 2)]
    count = len(edges) + 1
    return np.stack(
        [
            np.bincount(np.searchsorted(edges, points[0], side="right"), points[row], count)
            for points, row in rows
        ]
    )


def _shares_of_regions(mask: Flags) -> Numbers:
    """For each defect pixel one over the size of its region."""
    _, labels = cv2.connectedComponents(mask.astype(np.uint8))
    inside = labels[mask]
    return np.asarray(1 / np.bincount(inside)[inside]) if len(inside) else np.zeros(0)
