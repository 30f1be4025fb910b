"""The defects of a defect map as regions: outline, box and area, in pixels and in millimetres."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import cv2
import numpy as np

from ml.bundle.card import Card
from ml.inference.engine import Floats, Scored, Size
from ml.inference.masks import Flags

# Largest regions of an image that are listed: more are noise, or a part that is lost anyway.
MOST = 20
# How far a polygon may stray from the outline, as a share of its length and of the region's mean
# width (or a scratch would become a line without an area); more where it would else have more
# corners than a document should hold.
_STRAY = 0.01
_STRAY_ACROSS = 0.25
MOST_CORNERS = 64
# Digits of what is stored: the rest is noise of the processor.
_DECIMALS = 5


@dataclass(frozen=True)
class Region:
    """One connected defect, in pixels of the image as it came (x to the right, y down).

    `box` is left, top, width, height; `polygon` runs along the outer edges of its pixels;
    `p_defect` is their mean probability. `area_mm2` and `longest_mm` (the longer side of the
    smallest rectangle around it) are None where the line gives no scale. `weak` says that the
    segmenter learned from weak masks: the outline is a hint.
    """

    box: tuple[int, int, int, int]
    polygon: tuple[tuple[int, int], ...]
    area: float
    p_defect: float
    area_mm2: float | None
    longest_mm: float | None
    weak: bool = False

    def document(self) -> dict[str, Any]:
        """As it is stored: `polygon` is x, y, x, y, …, because Firestore has no lists of lists."""
        rounded = {
            name: round(value, _DECIMALS) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }
        corners = [place for corner in self.polygon for place in corner]
        return rounded | {"box": list(self.box), "polygon": corners}


def regions_of(card: Card, scored: Scored, size: Size) -> tuple[Region, ...] | None:
    """The regions of an inspected image of `size` (height, width); None without a segmenter."""
    mask, heat = scored.defect_mask, scored.defect_map
    if mask is None or heat is None:
        return None
    found = find_regions(mask, heat, size, card.mm_per_pixel)
    return tuple(replace(one, weak=card.models["segmenter"].weak) for one in found)


def find_regions(
    mask: Flags, defect_map: Floats, size: tuple[int, int], mm_per_pixel: float | None = None
) -> tuple[Region, ...]:
    """The connected pixels (8 neighbours) of a mask `[h, w]`, the largest first.

    `defect_map` `[h, w]` holds defect probabilities; `size` is height and width of the image.
    """
    if not mask.any():
        return ()
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    order = 1 + np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable")[:MOST]
    scale = (size[1] / mask.shape[1], size[0] / mask.shape[0])
    return tuple(
        _region(defect_map, labels == number, stats[number], scale, mm_per_pixel)
        for number in order
    )


def _region(
    defect_map: Floats,
    inside: Flags,
    stats: np.ndarray[tuple[int, ...], np.dtype[np.int32]],
    scale: tuple[float, float],
    mm_per_pixel: float | None,
) -> Region:
    across, down = scale
    left, top, width, height, pixels = (int(value) for value in stats)
    (x, wide), (y, high) = _side(left, width, across), _side(top, height, down)
    inner = inside[top : top + height, left : left + width]
    corner = np.array([left, top], np.float32)
    outline = (_outline(inner) + corner) * np.array(scale, np.float32)
    area = pixels * across * down
    polygon = _polygon(outline, area, (x, y, wide, high))
    longest = max(cv2.minAreaRect(outline)[1])
    return Region(
        box=(x, y, wide, high),
        polygon=tuple((int(one), int(other)) for one, other in polygon),
        area=area,
        p_defect=float(defect_map[inside].mean()),
        area_mm2=None if mm_per_pixel is None else area * mm_per_pixel**2,
        longest_mm=None if mm_per_pixel is None else longest * mm_per_pixel,
    )


def _outline(inside: Flags) -> Floats:
    """Along the outer edges of the pixels of one region: x, y `[N, 2]`, pixel 0 is from 0 to 1.

    OpenCV's contours run through the pixels' middles, which makes small regions much smaller, and
    of one pixel a point. So each pixel becomes nine, of which the outer ones lie at its edges.
    """
    nine = cv2.resize(
        inside.astype(np.uint8), None, fx=3, fy=3, interpolation=cv2.INTER_NEAREST_EXACT
    )
    contours, _ = cv2.findContours(nine, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    ninths = contours[0][:, 0]
    return np.asarray(ninths // 3 + ninths % 3 / 2, np.float32)


def _side(start: int, length: int, scale: float) -> tuple[int, int]:
    """Where a side of a box begins and its length in whole pixels of the image, at least one."""
    first, last = round(start * scale), round((start + length) * scale)
    return (first, last - first) if last > first else (int(start * scale), 1)


def _polygon(outline: Floats, area: float, box: tuple[int, int, int, int]) -> Floats:
    """The outline with few, whole corners; a rectangle where nothing would be left inside."""
    centre, sides, turn = cv2.minAreaRect(outline)
    # Narrower than two pixels, corners may be rounded to the same places.
    turned = cv2.boxPoints((centre, [max(side, 2.0) for side in sides], turn))
    within = np.clip(turned, outline.min(axis=0), outline.max(axis=0))
    x, y, wide, high = box
    upright = np.array([(x, y), (x, y + high), (x + wide, y + high), (x + wide, y)], np.float32)
    found = (one.round() for one in (_simplified(outline, area), within))
    return next((one for one in found if cv2.contourArea(one) > 0), upright)


def _simplified(outline: Floats, area: float) -> Floats:
    length = cv2.arcLength(outline, True)
    stray = min(_STRAY * length, _STRAY_ACROSS * 2 * area / length)
    while True:
        polygon = cv2.approxPolyDP(outline, stray, True)[:, 0]
        if len(polygon) <= MOST_CORNERS:
            return np.asarray(polygon, np.float32)
        stray *= 1.5
