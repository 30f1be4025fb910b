"""Good and defective images alike, and every group alike: in batches and in a loss."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ml.training.pixels import Pixels, steps_per_epoch


def is_defect(pixels: Pixels) -> npt.NDArray[np.bool_]:
    """Which of the images are defective: `[N]`."""
    return np.array([sample.is_defect for sample in pixels.samples], bool)


def equal_say(is_defect: npt.NDArray[np.bool_]) -> Tensor:
    """Weights `[N]` that sum to one and give good and defective images the same say."""
    weights = np.ones(len(is_defect))
    for side in (is_defect, ~is_defect):
        weights[side] /= side.sum()
    return torch.from_numpy(weights / weights.sum()).float()


def group_balanced_batches(
    is_defect: npt.NDArray[np.bool_],
    groups: npt.NDArray[np.str_],
    batch: int,
    random: np.random.Generator,
) -> Iterator[npt.NDArray[np.int64]]:
    """Index batches of one epoch, half of them good and half defective images.

    Each side takes an image of one group after the other, so that a group with many images does
    not rule, and every image of a group before one comes again. The epoch is as long as the data.
    The loss then needs no class weights.
    """
    count, half = steps_per_epoch(len(is_defect), batch), batch // 2
    sides = [
        _in_turn(np.flatnonzero(side), groups, half * count, random)
        for side in (is_defect, ~is_defect)
    ]
    for number in range(count):
        yield np.concatenate([side[number * half : (number + 1) * half] for side in sides])


def _in_turn(
    indices: npt.NDArray[np.int64],
    groups: npt.NDArray[np.str_],
    count: int,
    random: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """`count` of the indices: rounds through the groups, each round in another order."""
    members = [indices[groups[indices] == name] for name in np.unique(groups[indices])]
    rounds = -(-count // len(members))
    # Column: a group; row: a round.
    table = np.stack([_repeat_shuffled(one, rounds, random) for one in members], axis=1)
    return random.permuted(table, axis=1).ravel()[:count]


def _repeat_shuffled(
    indices: npt.NDArray[np.int64], count: int, random: np.random.Generator
) -> npt.NDArray[np.int64]:
    repeats = [random.permutation(indices) for _ in range(-(-count // len(indices)))]
    return np.concatenate(repeats)[:count]
