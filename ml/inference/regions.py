"""The defects of a defect map as regions: outline, box and area, in pixels and in millimetres."""

from dataclasses import dataclass

import cv2
import numpy as np

from ml.inference.engine import MASK_THRESHOLD, Floats

# Largest regions of an image that are listed: more are noise, or a part that is lost anyway.
MOST = 20
# How far a polygon may stray from the outline, as a share of its length.
_STRAY = 0.01


@dataclass(frozen=True)
class Region:
    """One connected defect, in pixels of the image as it came (x to the right, y down).

    `box` is left, top, width, height; `polygon` the outer outline; `p_defect` the mean probability
    of its pixels. `area_mm2` and `longest_mm` (the longer side of the smallest rectangle around
    it) are None where the line gives no scale.
    """

    box: tuple[int, int, int, int]
    polygon: tuple[tuple[int, int], ...]
    area: float
    p_defect: float
    area_mm2: float | None
    longest_mm: float | None


def find_regions(
    defect_map: Floats, size: tuple[int, int], mm_per_pixel: float | None = None
) -> tuple[Region, ...]:
    """Connected pixels (8 neighbours) above the mask threshold, the largest first.

    `defect_map` `[h, w]` holds defect probabilities; `size` is height and width of the image.
    """
    mask = (defect_map > MASK_THRESHOLD).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    order = 1 + np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable")[:MOST]
    scale = (size[1] / mask.shape[1], size[0] / mask.shape[0])
    return tuple(
        _region(defect_map, labels == number, stats[number], scale, mm_per_pixel)
        for number in (order if count > 1 else ())
    )


def _region(
    defect_map: Floats,
    inside: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
    stats: np.ndarray[tuple[int, ...], np.dtype[np.int32]],
    scale: tuple[float, float],
    mm_per_pixel: float | None,
) -> Region:
    across, down = scale
    left, top, width, height, pixels = (int(value) for value in stats)
    right, bottom = round((left + width) * across), round((top + height) * down)
    box = (round(left * across), round(top * down))
    outlines, _ = cv2.findContours(
        inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    # Pixel centres to the image's pixels.
    outline = (outlines[0][:, 0].astype(np.float32) + 0.5) * np.array([across, down], np.float32)
    polygon = cv2.approxPolyDP(outline, _STRAY * cv2.arcLength(outline, True), True)[:, 0]
    area = pixels * across * down
    longest = max(cv2.minAreaRect(outline)[1]) + max(scale)
    return Region(
        box=(*box, right - box[0], bottom - box[1]),
        polygon=tuple((int(x), int(y)) for x, y in polygon),
        area=area,
        p_defect=float(defect_map[inside].mean()),
        area_mm2=None if mm_per_pixel is None else area * mm_per_pixel**2,
        longest_mm=None if mm_per_pixel is None else longest * mm_per_pixel,
    )
