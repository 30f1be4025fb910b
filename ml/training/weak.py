"""Weak masks: where a defect that nobody outlined probably is, by classical thresholding.

They exist only while a segmenter trains and are stored nowhere, so nothing can take them for truth;
import-linter keeps `ml.evaluation` from this module.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ml.training.pixels import Pixels

Floats = npt.NDArray[np.float32]
Images = npt.NDArray[np.uint8]

# Good images that the reference is made of, at most.
_MOST_GOOD = 64
# Grey levels: what every image is brought to, and the spread below which it is not stretched.
_SPREAD, _FLATTEST = 40.0, 8.0
_SMOOTH = 1.0
# Side of the neighbourhood that local contrast is taken from, as a share of the image's.
_AROUND = 0.15
# A weak pixel stands out more than all but this share of the pixels of nearly all good images.
_PIXELS, _IMAGES = 0.999, 0.9
# Smallest region, as a share of the image.
_SMALLEST = 1e-4


@dataclass(frozen=True)
class WeakLabeller:
    """Draws what differs from good images: from their median, or from the image around it.

    `reference` `[H, W]` is the median of even good images; None compares with the surroundings,
    which is right for parts that do not lie still. `floor` is what good images reach.
    """

    reference: Floats | None
    floor: float

    def mask(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """0/1 `[H, W]` of an image `[H, W, 3]`: above Otsu's threshold (1979) and above `floor`.

        It is empty when nothing stands out.
        """
        contrast = _contrast(_even(image), self.reference)
        scaled = np.clip(contrast / max(float(contrast.max()), 1e-6) * 255, 0, 255)
        otsu, _ = cv2.threshold(scaled.astype(np.uint8), 0, 1, cv2.THRESH_OTSU)
        least = max(self.floor, otsu / 255 * float(contrast.max()))
        found = cv2.morphologyEx(
            (contrast > least).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)
        )
        _, labels, stats, _ = cv2.connectedComponentsWithStats(found, connectivity=8)
        kept = stats[:, cv2.CC_STAT_AREA] >= max(2, _SMALLEST * found.size)
        kept[0] = False
        return np.asarray(kept[labels], np.uint8)


def fit_labeller(pixels: Pixels) -> WeakLabeller:
    """The labeller, of the two, that finds something in more of the defects without a mask.

    `pixels` are training images; those that are good say what is normal.
    """
    defect = np.array([one.is_defect for one in pixels.samples])
    good = [_even(image) for image in pixels.images[~defect][:_MOST_GOOD]]
    unmasked = pixels.images[_unmasked(pixels)][:_MOST_GOOD]
    both = [
        WeakLabeller(reference, _floor(good, reference))
        for reference in (np.asarray(np.median(good, axis=0), np.float32), None)
    ]
    return max(both, key=lambda one: sum(bool(one.mask(image).any()) for image in unmasked))


def with_weak_masks(pixels: Pixels, labeller: WeakLabeller) -> Pixels:
    """The same with weak masks for defects without one; those without a finding are left out."""
    assert pixels.masks is not None
    masks = pixels.masks.copy()
    kept = np.ones(len(masks), bool)
    for place in np.flatnonzero(_unmasked(pixels)):
        masks[place] = labeller.mask(pixels.images[place])
        kept[place] = masks[place].any()
    samples = tuple(one for one, keep in zip(pixels.samples, kept, strict=True) if keep)
    return Pixels(samples, pixels.images[kept], masks[kept])


def _unmasked(pixels: Pixels) -> npt.NDArray[np.bool_]:
    return np.array([one.is_defect and not one.mask for one in pixels.samples], bool)


def _floor(good: list[Floats], reference: Floats | None) -> float:
    highest = [np.quantile(_contrast(one, reference), _PIXELS) for one in good]
    return float(np.quantile(highest, _IMAGES))


def _contrast(even: Floats, reference: Floats | None) -> Floats:
    if reference is None:
        side = max(3, round(_AROUND * max(even.shape)))
        reference = np.asarray(cv2.blur(even, (side, side)), np.float32)
    return np.asarray(np.abs(even - reference))


def _even(image: npt.NDArray[np.uint8]) -> Floats:
    grey = cv2.GaussianBlur(
        cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), _SMOOTH
    )
    spread = max(float(grey.std()), _FLATTEST)
    return np.asarray((grey - grey.mean()) / spread * _SPREAD, np.float32)
