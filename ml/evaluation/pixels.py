"""What the maps of a split show of the defect's pixels, gathered while the images are scored."""

import cv2
import numpy as np

from ml.data.dataset import Sample, read_mask, resize_mask
from ml.evaluation.overlap import MaskOverlap
from ml.evaluation.ranking import PixelRanking
from ml.evaluation.scores import Flags, Numbers
from ml.inference.engine import Floats, Scored, defect_type
from ml.inference.explain import heat_maps
from ml.settings import Home

# How far from the mask the hottest pixel may lie, as a share of the longer side: 15 of 500 pixels,
# as in the pointing game (Zhang et al., IJCV 2018).
POINTING_TOLERANCE = 0.03
# Classes of a classifier that knows one kind of defect: that and ok.
_ONE_TYPE = 2


class MapEvidence:
    """Gathers maps while images are scored; afterwards gives what pixel metrics need.

    A good image has an empty mask. A defect without a mask is left out of `ranking`. `head` are
    the weights of the classifier's linear layer, for its class activation map; `classes` those of a
    classifier, whose defect types are kept where it tells several apart.
    """

    def __init__(
        self,
        home: Home,
        sizes: dict[str, tuple[int, int]],
        head: Floats | None = None,
        classes: tuple[str, ...] = (),
    ) -> None:
        self._home = home
        self._sizes = sizes
        self._head = head
        self._classes = classes if len(classes) > _ONE_TYPE else ()
        self._types: list[str] = []
        self._usable: list[bool] = []
        self._with_mask: list[bool] = []
        self._areas: list[float] = []
        self._pointing: dict[str, list[bool]] = {}
        self.ranking: dict[str, PixelRanking] = {}
        self.overlap = MaskOverlap() if "segmenter" in sizes else None

    def see(self, sample: Sample, scored: Scored) -> None:
        """Keep what pixel metrics need of one image."""
        truth = self._truth(sample)
        usable = truth is not None or not sample.is_defect
        self._usable.append(usable)
        self._with_mask.append(truth is not None)
        if self._classes:
            self._types.append(defect_type(self._classes, scored))
        self._areas.append(np.nan if truth is None else float(truth.mean()))
        for name, heat in heat_maps(scored, self._head).items():
            # The map of a tiled segmenter is as large as its image.
            height, width = heat.shape if name == "segmenter" else self._sizes[name]
            size = (height, width)
            mask = np.zeros(size, bool) if truth is None else resize_mask(truth, size)
            self._pointing.setdefault(name, []).append(points_at(heat, mask))
            if name != "classifier" and usable:
                self.ranking.setdefault(name, PixelRanking()).add(heat, mask)
            if name == "segmenter" and self.overlap is not None:
                assert scored.defect_mask is not None
                self.overlap.add(scored.defect_mask, mask)

    def _truth(self, sample: Sample) -> Flags | None:
        if not sample.is_defect or not sample.mask:
            return None
        mask = read_mask(self._home, sample.mask)
        return mask if mask.any() else None

    @property
    def usable(self) -> Flags:
        """Images whose every pixel has a known label."""
        return np.array(self._usable, bool)

    @property
    def with_mask(self) -> Flags:
        """Defects with a mask."""
        return np.array(self._with_mask, bool)

    @property
    def types(self) -> tuple[str, ...] | None:
        """The defect type that the classifier gives each image; None where it knows only one."""
        return tuple(self._types) if self._classes else None

    @property
    def areas(self) -> Numbers:
        """Share of the image that its mask covers; NaN without one."""
        return np.array(self._areas)

    @property
    def pointing(self) -> dict[str, Flags]:
        """By model, images whose hottest pixel lies in the mask or close to it."""
        return {name: np.array(hits, bool) for name, hits in self._pointing.items()}


def points_at(heat: Floats, mask: Flags) -> bool:
    """Whether the hottest pixel of a map `[h, w]`, enlarged to the mask `[H, W]`, lies in it.

    Within `POINTING_TOLERANCE` of it is close enough; of equally hot pixels the middle one counts.
    A map of one value points nowhere.
    """
    if not mask.any() or heat.max() <= heat.min():
        return False
    large = cv2.resize(heat, mask.shape[::-1], interpolation=cv2.INTER_LINEAR)
    peaks = np.argwhere(large == large.max())
    hottest = peaks[np.linalg.norm(peaks - peaks.mean(axis=0), axis=1).argmin()]
    distance = np.linalg.norm(np.argwhere(mask) - hottest, axis=1).min()
    return bool(distance <= POINTING_TOLERANCE * max(mask.shape))
