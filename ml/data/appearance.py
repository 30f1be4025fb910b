"""One short vector per image, and the images whose vectors are nearest: candidates for copies."""

import numpy as np
import numpy.typing as npt

from ml.data.keypoints import Floats, Keypoints, KeypointSet, mirrored, root

_WORDS = 64
_ROUNDS = 5
_SAMPLED_IMAGES = 1000
_SAMPLED_KEYPOINTS = 24  # of each
_PROJECTED = 512
_DIMENSIONS = 192
_BLOCK_ROWS = 512
_SEED = 0


def codebook(keypoints: KeypointSet) -> Floats:
    """Visual words `[64, 128]`: k-means over a sample of the set's descriptors."""
    rng = np.random.default_rng(_SEED)
    every = max(1, len(keypoints) // _SAMPLED_IMAGES)
    sample = np.concatenate([_sample(keypoints[i]) for i in range(0, len(keypoints), every)])
    if not len(sample):
        return np.zeros((_WORDS, 128), np.float32)
    words = sample[rng.choice(len(sample), _WORDS, replace=len(sample) < _WORDS)]
    for _ in range(_ROUNDS):
        member = np.eye(_WORDS, dtype=np.float32)[_nearest_word(sample, words)]
        filled = member.sum(axis=0) > 0
        words[filled] = (member.T @ sample)[filled] / member.sum(axis=0)[filled, None]
    return words


def vectors(keypoints: KeypointSet, words: Floats) -> tuple[Floats, Floats]:
    """Unit vectors `[N, D]` of the images and of their mirror images.

    VLAD with intra-normalisation (Arandjelovic and Zisserman, CVPR 2013), whitened over the set
    (Jegou and Chum, ECCV 2012), so that what all the parts share counts least. Keypoints carry
    their own direction, so a turned image has the same vector.
    """
    rng = np.random.default_rng(_SEED)
    projection = rng.standard_normal((words.size, _PROJECTED), np.float32)
    images = range(len(keypoints))
    plain = np.stack([_vlad(keypoints[i], words) @ projection for i in images])
    turned = np.stack([_vlad(mirrored(keypoints[i]), words) @ projection for i in images])
    centre = (plain.mean(axis=0) + turned.mean(axis=0)) / 2
    plain, turned = plain - centre, turned - centre
    spread, axes = np.linalg.eigh(plain.T @ plain + turned.T @ turned)
    wanted = min(_DIMENSIONS, max(2, len(keypoints) // 2))
    whiten = axes[:, -wanted:] / np.sqrt(np.maximum(spread[-wanted:], 1e-6))
    return _unit(plain @ whiten), _unit(turned @ whiten)


def neighbours(
    plain: Floats, turned: Floats, keys: npt.NDArray[np.intp], count: int
) -> list[tuple[int, int]]:
    """Pairs (a < b) with different keys where one is among the other's `count` nearest.

    Compares all with all, in blocks: N x N x D multiplications, memory for 512 x N.
    """
    seen: set[tuple[int, int]] = set()
    for start in range(0, len(plain), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        near = np.maximum(plain[block] @ plain.T, turned[block] @ plain.T)
        near[keys[block, None] == keys[None, :]] = -np.inf
        last = min(count, near.shape[1] - 1)
        nearest = np.argpartition(-near, last, axis=1)[:, : last + 1]
        for row, others in enumerate(nearest):
            for other in others[np.isfinite(near[row, others])]:
                a, b = sorted((start + row, int(other)))
                seen.add((a, b))
    return sorted(seen)


def _sample(keypoints: Keypoints) -> Floats:
    every = max(1, len(keypoints.points) // _SAMPLED_KEYPOINTS)
    return root(keypoints.descriptors[::every])


def _nearest_word(descriptors: Floats, words: Floats) -> npt.NDArray[np.intp]:
    near = descriptors @ words.T - (words**2).sum(axis=1) / 2
    return np.asarray(near.argmax(axis=1))


def _vlad(keypoints: Keypoints, words: Floats) -> Floats:
    if not len(keypoints.points):
        return np.zeros(words.size, np.float32)
    descriptors = root(keypoints.descriptors)
    member = np.eye(_WORDS, dtype=np.float32)[_nearest_word(descriptors, words)]
    sums = member.T @ descriptors - member.sum(axis=0)[:, None] * words
    return np.asarray(_unit(_unit(sums).reshape(1, -1))[0])


def _unit(rows: Floats) -> Floats:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(length, 1e-9), np.float32)
