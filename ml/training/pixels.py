"""Images and masks of a split, decoded once into memory at the model's size."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from ml.data.dataset import Sample, read_mask, read_rgb
from ml.imaging import resize_rgb
from ml.progress import track
from ml.settings import Home

# A resized mask pixel is defect when this share of what it covers is: small defects stay.
_MASK_SHARE = 0.3


@dataclass(frozen=True)
class Pixels:
    """Images `[N, H, W, 3]` uint8 and, where asked for, masks `[N, H, W]` bool."""

    samples: tuple[Sample, ...]
    images: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.bool_] | None


def load_pixels(
    home: Home, samples: Sequence[Sample], size: tuple[int, int], *, masks: bool, threads: int
) -> Pixels:
    """Decode and resize the images of `samples`, in their order."""

    def image(sample: Sample) -> npt.NDArray[np.uint8]:
        return resize_rgb(read_rgb(home, sample.sha256), size)

    def mask(sample: Sample) -> npt.NDArray[np.bool_]:
        if not sample.mask:
            return np.zeros(size, bool)
        found = read_mask(home, sample.mask).astype(np.float32)
        return cv2.resize(found, size[::-1], interpolation=cv2.INTER_AREA) >= _MASK_SHARE

    with ThreadPoolExecutor(threads) as pool:
        images = list(track(pool.map(image, samples), "decode", len(samples)))
        found = np.stack(list(pool.map(mask, samples))) if masks else None
    return Pixels(tuple(samples), np.stack(images), found)


def to_tensor(images: npt.NDArray[np.uint8]) -> Tensor:
    """`[N, H, W, 3]` uint8 to float `[N, 3, H, W]`, 0-255, channels last in memory."""
    tensor = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
    return tensor.contiguous(memory_format=torch.channels_last)


def balanced_batches(
    is_defect: npt.NDArray[np.bool_], batch: int, random: np.random.Generator
) -> Iterator[npt.NDArray[np.int64]]:
    """Index batches of one epoch, half of them good and half defective images.

    Each side is drawn without replacement before anything repeats; the epoch is as long as the
    data. The loss then needs no class weights.
    """
    sides = [np.flatnonzero(is_defect), np.flatnonzero(~is_defect)]
    count = max(1, len(is_defect) // batch)
    half = batch // 2
    streams = [_repeat_shuffled(side, half * count, random) for side in sides]
    for number in range(count):
        part = slice(number * half, (number + 1) * half)
        yield np.concatenate([stream[part] for stream in streams])


def _repeat_shuffled(
    indices: npt.NDArray[np.int64], count: int, random: np.random.Generator
) -> npt.NDArray[np.int64]:
    rounds = [random.permutation(indices) for _ in range(-(-count // len(indices)))]
    return np.concatenate(rounds)[:count]


def augment(
    images: Tensor, masks: Tensor | None, random: np.random.Generator
) -> tuple[Tensor, Tensor | None]:
    """Changes that a fixed camera sees: light, noise, small shifts, mirror images.

    `images` `[N, 3, H, W]` 0-255, `masks` `[N, 1, H, W]`; mask and image move together.
    """
    for axis in (2, 3):
        if random.random() < 0.5:
            images = images.flip(axis)
            masks = None if masks is None else masks.flip(axis)
    images, masks = _shifted(images, masks, random)
    count = len(images)
    gain = torch.from_numpy(random.uniform(0.8, 1.2, (count, 1, 1, 1))).float()
    offset = torch.from_numpy(random.uniform(-12, 12, (count, 1, 1, 1))).float()
    noise = torch.from_numpy(random.standard_normal(images.shape, np.float32))
    images = images * gain + offset + noise * random.uniform(0, 4)
    return images.clamp(0, 255), masks


def _shifted(
    images: Tensor, masks: Tensor | None, random: np.random.Generator
) -> tuple[Tensor, Tensor | None]:
    height, width = images.shape[2:]
    reach = (max(1, height // 25), max(1, width // 25))
    dy, dx = (int(random.integers(0, 2 * side + 1)) for side in reach)

    def move(tensor: Tensor, mode: str) -> Tensor:
        around = (reach[1], reach[1], reach[0], reach[0])
        padded = functional.pad(tensor, around, mode=mode)
        return padded[:, :, dy : dy + height, dx : dx + width]

    return move(images, "reflect"), None if masks is None else move(masks, "constant")
