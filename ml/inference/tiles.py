"""Large images in overlapping tiles at their own resolution, and maps merged without seams."""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from ml.imaging import Pixels

Floats = npt.NDArray[np.float32]
Size = tuple[int, int]
Corner = tuple[int, int]

# Neighbours share at least this part of a tile.
_OVERLAP = 0.25
# Weight of a tile's edge beside its middle: small, and never zero.
_EDGE = 1e-3


def tile_corners(size: Size, tile: Size) -> list[Corner]:
    """Upper left corners of the tiles that cover an image of `size`, row by row."""
    rows, columns = (_starts(length, side) for length, side in zip(size, tile, strict=True))
    return [(top, left) for top in rows for left in columns]


def cut_tile(image: Pixels, corner: Corner, tile: Size) -> Pixels:
    """One tile of `[H, W, 3]` or `[H, W]`; where the image is smaller, it is mirrored beyond it."""
    top, left = corner
    inside = image[top : top + tile[0], left : left + tile[1]]
    below, beside = tile[0] - inside.shape[0], tile[1] - inside.shape[1]
    if not (below or beside):
        return inside
    grown = cv2.copyMakeBorder(inside, 0, below, 0, beside, cv2.BORDER_REFLECT)
    return np.asarray(grown, np.uint8)


def merge_tiles(maps: Iterable[Floats], corners: Sequence[Corner], size: Size) -> Floats:
    """The map `[H, W]` of an image from those `[h, w]` of its tiles, each a weighted mean.

    A tile counts most in its middle, where it sees the most around a pixel, and least at its edge,
    so that no seam shows. Tiles are taken one after the other: they need not all be in memory.
    """
    total, weight = np.zeros(size, np.float32), np.zeros(size, np.float32)
    for one, (top, left) in zip(maps, corners, strict=True):
        height, width = min(one.shape[0], size[0] - top), min(one.shape[1], size[1] - left)
        window = np.outer(_window(one.shape[0]), _window(one.shape[1]))[:height, :width]
        place = (slice(top, top + height), slice(left, left + width))
        total[place] += window * one[:height, :width]
        weight[place] += window
    return np.asarray(total / weight, np.float32)


def _starts(length: int, side: int) -> list[int]:
    spare = length - side
    if spare <= 0:
        return [0]
    count = 1 + int(np.ceil(spare / (side * (1 - _OVERLAP))))
    return [round(place) for place in np.linspace(0, spare, count)]


def _window(side: int) -> Floats:
    places = (np.arange(side) + 0.5) / side
    return np.asarray(_EDGE + np.sin(np.pi * places) ** 2, np.float32)
