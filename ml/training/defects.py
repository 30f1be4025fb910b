"""The batches of a segmenter: every type and group of defects alike, pasted and zoomed."""

from collections.abc import Iterator, Sequence
from itertools import cycle, islice

import cv2
import numpy as np
import numpy.typing as npt

from ml.data.dataset import Sample
from ml.training.pixels import Pixels, steps_per_epoch

Image = npt.NDArray[np.uint8]

# Share of the good images that get the defect of another image.
_PASTED = 0.4
# Largest defect that is pasted, as a share of the image: a larger one is no local change.
_LARGEST = 0.05
# Pixels around a defect that move with it, and how softly it ends.
_AROUND = 6
_SOFT = 1.0
_STRENGTH = (0.7, 1.2)
_TRIES = 5
# Each side is enlarged by up to so much, or shrunk by half as much.
_ZOOM = 0.35


def defect_batches(
    samples: Sequence[Sample], batch: int, random: np.random.Generator
) -> Iterator[npt.NDArray[np.int64]]:
    """Index batches of one epoch, half of them good and half defective images.

    On each side every defect type comes in turn, of a type every group, of a group every image. The
    epoch is as long as the data; the loss then needs no weights.
    """
    count, half = steps_per_epoch(len(samples), batch), batch // 2
    streams = [
        _types_in_turn(
            samples, [i for i, one in enumerate(samples) if one.is_defect == side], random
        )
        for side in (True, False)
    ]
    for _ in range(count):
        yield np.array([index for stream in streams for index in islice(stream, half)])


def changed(
    pixels: Pixels, index: npt.NDArray[np.int64], random: np.random.Generator, *, mirror: bool
) -> tuple[Image, Image]:
    """Images `[N, H, W, 3]` and masks `[N, H, W]` of a batch, with defects pasted, and zoomed.

    `mirror` says whether a pasted defect may be a mirror image.
    """
    assert pixels.masks is not None
    donors = [i for i, one in enumerate(pixels.samples) if one.is_defect]
    images, masks = [], []
    for place in index:
        image, mask = pixels.images[place], pixels.masks[place]
        if not pixels.samples[place].is_defect and random.random() < _PASTED:
            donor = _small_donor(pixels.masks, donors, random)
            if donor is not None:
                drawn = pixels.images[donor], pixels.masks[donor]
                image, mask = paste(image, mask, *drawn, random, mirror=mirror)
        image, mask = _zoomed(image, mask, random)
        images.append(image)
        masks.append(mask)
    return np.stack(images), np.stack(masks)


def paste(
    image: Image,
    mask: Image,
    donor: Image,
    donor_mask: Image,
    random: np.random.Generator,
    *,
    mirror: bool,
) -> tuple[Image, Image]:
    """The image `[H, W, 3]` with the donor's defect on it, mirrored or not, and its mask `[H, W]`.

    The defect keeps its contrast to what surrounds it, which is what a defect is under any light
    (after Ghiasi et al., CVPR 2021, without a change of scale). One at a border stays at it.
    """
    if mirror:
        down, right = (random.choice((1, -1)) for _ in range(2))
        donor, donor_mask = donor[::down, ::right], donor_mask[::down, ::right]
    donor_mask = np.ascontiguousarray(donor_mask)
    rows, columns = (_span(donor_mask, axis) for axis in (0, 1))
    patch, shape = donor[rows, columns].astype(np.float32), donor_mask[rows, columns]
    around = cv2.dilate(shape, np.ones((9, 9), np.uint8)) > cv2.dilate(
        shape, np.ones((3, 3), np.uint8)
    )
    ground = patch[around] if around.any() else patch.reshape(-1, 3)
    contrast = patch / np.maximum(ground.mean(axis=0), 1) - 1
    there = tuple(
        _placed(span, side, random) for span, side in zip((rows, columns), mask.shape, strict=True)
    )
    under = image[there].astype(np.float32)
    lit = under.mean(axis=(0, 1)) * (1 + random.uniform(*_STRENGTH) * contrast)
    soft = cv2.dilate(shape, np.ones((3, 3), np.uint8)).astype(np.float32)
    soft = cv2.GaussianBlur(soft, (0, 0), _SOFT)[..., None]
    image, mask = image.copy(), mask.copy()
    image[there] = np.clip(under * (1 - soft) + lit * soft, 0, 255)
    mask[there] |= shape
    return image, mask


def _types_in_turn(
    samples: Sequence[Sample], among: list[int], random: np.random.Generator
) -> Iterator[int]:
    types: dict[str, dict[str, list[int]]] = {}
    for place in among:
        one = samples[place]
        types.setdefault(one.defect_type, {}).setdefault(one.group, []).append(place)
    streams = [
        _in_turn([_in_turn_once(images, random) for images in groups.values()], random)
        for groups in types.values()
    ]
    return _in_turn(streams, random)


def _in_turn(streams: list[Iterator[int]], random: np.random.Generator) -> Iterator[int]:
    """One of each stream, each round in another order."""
    while True:
        for number in random.permutation(len(streams)):
            yield next(streams[number])


def _in_turn_once(images: list[int], random: np.random.Generator) -> Iterator[int]:
    return cycle(random.permutation(images).tolist())


def _small_donor(masks: Image, donors: list[int], random: np.random.Generator) -> int | None:
    for _ in range(_TRIES):
        donor = donors[random.integers(len(donors))]
        if 0 < masks[donor].mean() < _LARGEST:
            return donor
    return None


def _span(mask: Image, axis: int) -> slice:
    """From the first to the last row or column that the mask touches, and a little around."""
    places = np.flatnonzero(mask.any(axis=1 - axis))
    return slice(max(places[0] - _AROUND, 0), min(places[-1] + 1 + _AROUND, mask.shape[axis]))


def _placed(span: slice, side: int, random: np.random.Generator) -> slice:
    length = span.stop - span.start
    if span.start == 0 or span.stop == side:
        return span
    start = int(random.integers(side - length + 1))
    return slice(start, start + length)


def _zoomed(image: Image, mask: Image, random: np.random.Generator) -> tuple[Image, Image]:
    height, width = mask.shape
    down, across = 1 + random.uniform(-0.5, 1, 2) * _ZOOM
    top, left = random.random(2) * (height * (1 - down), width * (1 - across))
    turn = np.array([[across, 0, left], [0, down, top]], np.float32)
    border = {"borderMode": cv2.BORDER_REFLECT_101}
    large = cv2.warpAffine(image, turn, (width, height), **border)
    drawn = cv2.warpAffine(mask.astype(np.float32), turn, (width, height), **border)
    return np.asarray(large, np.uint8), (drawn > 0.5).astype(np.uint8)
