"""What a segmenter is fed in training: whole images, or the tiles that the engine will cut."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from ml.ahead import run_ahead
from ml.data.dataset import Sample, read_mask, read_rgb
from ml.imaging import Pixels as Image
from ml.inference.tiles import cut_tile, tile_corners
from ml.progress import track
from ml.settings import Home
from ml.settings.models import SegmenterConfig
from ml.training.pixels import Pixels, load_pixels, room

_AHEAD = 8

Tile = tuple[Sample, Image, Image]


def count_inputs(
    home: Home, samples: Sequence[Sample], config: SegmenterConfig, threads: int
) -> int:
    """How many images of the network's size `load_inputs` gives."""
    tile = config.tile
    if tile is None:
        return len(samples)

    def count(sample: Sample) -> int:
        return len(tile_corners(_size(read_rgb(home, sample.sha256, sample.bits)), tile))

    return sum(run_ahead(count, samples, threads=threads, ahead=_AHEAD))


def load_inputs(
    home: Home, samples: Sequence[Sample], config: SegmenterConfig, threads: int
) -> Pixels:
    """Images and masks of `samples` as the segmenter is fed: resized, or in tiles.

    A tile without a defect pixel is a good one, whatever its image is. Each keeps its group.
    """
    tile = config.tile
    if tile is None:
        return load_pixels(home, samples, config.size, masks=True, threads=threads)
    count = count_inputs(home, samples, config, threads)
    images, masks = room((count, *tile, 3)), room((count, *tile))
    found = []
    tiles = chain.from_iterable(_tiles(home, samples, tile, threads))
    for index, (sample, image, mask) in enumerate(track(tiles, "decode", count)):
        found.append(sample)
        images[index], masks[index] = image, mask
    return Pixels(tuple(found), images, masks)


def load_one_each(
    home: Home, samples: Sequence[Sample], config: SegmenterConfig, threads: int
) -> Pixels:
    """One input of each sample, without masks: the image resized, or one of its tiles.

    That is the tile with the most defect pixels; of a good image the middle one.
    """
    tile = config.tile
    if tile is None:
        return load_pixels(home, samples, config.size, masks=False, threads=threads)
    images = [
        max([tiles[len(tiles) // 2], *tiles], key=lambda one: one[2].sum())[1]
        for tiles in _tiles(home, samples, tile, threads)
    ]
    return Pixels(tuple(samples), np.stack(images), None)


def _tiles(
    home: Home, samples: Sequence[Sample], tile: tuple[int, int], threads: int
) -> Iterator[list[Tile]]:
    """The tiles of each sample."""

    def read(sample: Sample) -> list[Tile]:
        image = read_rgb(home, sample.sha256, sample.bits)
        mask = np.zeros_like(image[..., 0])
        if sample.mask:
            mask = read_mask(home, sample.mask).astype(mask.dtype)
        corners = tile_corners(_size(image), tile)
        return [_tile(sample, image, mask, corner, tile) for corner in corners]

    return run_ahead(read, samples, threads=threads, ahead=_AHEAD)


def _tile(
    sample: Sample, image: Image, mask: Image, corner: tuple[int, int], tile: tuple[int, int]
) -> Tile:
    drawn = cut_tile(mask, corner, tile)
    if not drawn.any():
        sample = replace(sample, label="ok", defect_type="", mask="")
    return sample, cut_tile(image, corner, tile), drawn


def _size(image: Image) -> tuple[int, int]:
    return image.shape[0], image.shape[1]
