"""Images and masks of a split, decoded once at the model's size, and the batches made of them."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ml.ahead import in_batches, run_ahead
from ml.data.dataset import Sample, read_mask, read_rgb, resize_mask
from ml.errors import DataError
from ml.imaging import resize_rgb
from ml.progress import track
from ml.settings import Home
from ml.training.device import device

# Decoded images beyond this lie in an unnamed temporary file instead of in memory.
_IN_MEMORY_BYTES = 4 << 30
# Images that a model sees at once where it only evaluates.
EVALUATION_BATCH = 16
# Images that are decoded ahead.
_AHEAD = 64

# What a fixed camera sees change: light (gain, grey levels), noise (grey levels), a shift.
_GAIN = (0.8, 1.2)
_OFFSET = 12.0
_NOISE = 4.0
_SHIFT_SHARE = 0.04


# An image `[H, W, 3]` and its mask `[H, W]`, which is empty where none is asked for.
Opened = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


@dataclass(frozen=True)
class Pixels:
    """Images `[N, H, W, 3]` uint8 and, where asked for, masks `[N, H, W]` uint8, 1 is defect."""

    samples: tuple[Sample, ...]
    images: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.uint8] | None


def load_pixels(
    home: Home, samples: Sequence[Sample], size: tuple[int, int], *, masks: bool, threads: int
) -> Pixels:
    """Decode and resize the images of `samples`, in their order.

    Raises DataError when an image of the dataset is gone from the installation.
    """
    images = room((len(samples), *size, 3))
    found = room((len(samples), *size)) if masks else None
    opened = _opened(home, samples, size, masks, threads)
    for index, (image, mask) in enumerate(track(opened, "decode", len(samples))):
        images[index] = image
        if found is not None:
            found[index] = mask
    return Pixels(tuple(samples), images, found)


def stream_pixels(
    home: Home,
    samples: Sequence[Sample],
    size: tuple[int, int],
    *,
    batch: int,
    masks: bool,
    threads: int,
) -> Iterator[Pixels]:
    """The same in parts of `batch` images, decoded while the part before is used.

    Raises DataError as `load_pixels` does.
    """
    opened = zip(samples, _opened(home, samples, size, masks, threads), strict=True)
    for part in in_batches(opened, batch):
        chosen, pairs = zip(*part, strict=True)
        images, found = zip(*pairs, strict=True)
        yield Pixels(chosen, np.stack(images), np.stack(found) if masks else None)


def bytes_in_memory(images: int, size: tuple[int, int], masks: bool) -> int:
    """What `load_pixels` takes of main memory, at most."""
    planes = [3, 1] if masks else [3]
    each = [images * size[0] * size[1] * count for count in planes]
    return sum(one for one in each if one <= _IN_MEMORY_BYTES)


def to_tensor(images: npt.NDArray[np.uint8]) -> Tensor:
    """`[N, H, W, 3]` uint8 to float `[N, 3, H, W]`, 0-255, channels last in memory."""
    tensor = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
    return tensor.contiguous(memory_format=torch.channels_last)


def chunks(pixels: Pixels) -> Iterator[Tensor]:
    """The images in order, as tensors of a few images on the device."""
    for start in range(0, len(pixels.images), EVALUATION_BATCH):
        yield to_tensor(pixels.images[start : start + EVALUATION_BATCH]).to(device())


def mask_tensor(masks: npt.NDArray[np.uint8]) -> Tensor:
    """`[N, H, W]` 0/1 to float `[N, 1, H, W]`."""
    return torch.from_numpy(np.ascontiguousarray(masks)).float()[:, None]


def steps_per_epoch(images: int, batch: int) -> int:
    """Batches of one epoch, at least one."""
    return max(1, images // batch)


def augment(
    images: npt.NDArray[np.uint8],
    masks: npt.NDArray[np.uint8] | None,
    random: np.random.Generator,
    *,
    mirror: bool,
) -> tuple[Tensor, Tensor | None]:
    """Changes that a fixed camera sees: light, noise, small shifts; with `mirror` mirror images.

    `images` `[N, H, W, 3]`, `masks` `[N, H, W]`; each image changes by itself, its mask moves with
    it. Returns tensors `[N, 3, H, W]` 0-255 and `[N, 1, H, W]`.
    """
    moves = [_Move.draw(images.shape[1:3], random, mirror) for _ in images]
    moved = np.stack(
        [move(one, cv2.BORDER_REFLECT_101) for move, one in zip(moves, images, strict=True)]
    )
    light = _relight(to_tensor(moved), random)
    if masks is None:
        return light, None
    followed = [move(one, cv2.BORDER_CONSTANT) for move, one in zip(moves, masks, strict=True)]
    return light, mask_tensor(np.stack(followed))


@dataclass(frozen=True)
class _Move:
    """A shift by whole pixels, of the image or its mirror image."""

    flip_rows: bool
    flip_columns: bool
    down: int
    right: int

    @classmethod
    def draw(cls, size: tuple[int, int], random: np.random.Generator, mirror: bool) -> "_Move":
        reach = [max(1, round(side * _SHIFT_SHARE)) for side in size]
        down, right = (int(random.integers(-most, most + 1)) for most in reach)
        rows, columns = (mirror and random.random() < 0.5 for _ in range(2))
        return cls(rows, columns, down, right)

    def __call__(self, image: npt.NDArray[np.uint8], border: int) -> npt.NDArray[np.uint8]:
        image = image[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]
        height, width = image.shape[:2]
        up, left = max(self.down, 0), max(self.right, 0)
        around = (up, up - self.down, left, left - self.right)
        wide: Any = cv2.copyMakeBorder(np.ascontiguousarray(image), *around, border)
        top, first = up - self.down, left - self.right
        return wide[top : top + height, first : first + width]  # type: ignore[no-any-return]


def _relight(images: Tensor, random: np.random.Generator) -> Tensor:
    one_each = (len(images), 1, 1, 1)
    gain = torch.from_numpy(random.uniform(*_GAIN, one_each)).float()
    offset = torch.from_numpy(random.uniform(-_OFFSET, _OFFSET, one_each)).float()
    strength = torch.from_numpy(random.uniform(0, _NOISE, one_each)).float()
    grain = torch.from_numpy(random.standard_normal(images.shape, np.float32))
    return (images * gain + offset + grain * strength).clamp(0, 255)


def _opened(
    home: Home, samples: Sequence[Sample], size: tuple[int, int], masks: bool, threads: int
) -> Iterator[Opened]:
    def read(sample: Sample) -> Opened:
        mask = np.zeros(size if masks else (0, 0), np.uint8)
        try:
            image = resize_rgb(read_rgb(home, sample.sha256, sample.bits), size)
            if masks and sample.mask:
                mask[:] = resize_mask(read_mask(home, sample.mask), size)
        except FileNotFoundError as error:
            msg = f"{error.filename}: gone, but a dataset needs it; restore it or ingest it again"
            raise DataError(msg) from error
        return image, mask

    return run_ahead(read, samples, threads=threads, ahead=_AHEAD)


def room(shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Zeros in memory, or in an unnamed temporary file where they would take too much of it."""
    if np.prod(shape) <= _IN_MEMORY_BYTES:
        return np.zeros(shape, np.uint8)
    return np.memmap(tempfile.TemporaryFile(), np.uint8, "w+", shape=shape)
