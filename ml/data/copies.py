"""Find images that show the same part: turned, mirrored, shifted, re-lit or re-encoded."""

import functools
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO

import numpy as np
from threadpoolctl import threadpool_limits

from ml.ahead import run_ahead
from ml.data.appearance import codebook, neighbours, vectors
from ml.data.design import own_keypoints, references
from ml.data.keypoints import MAX_KEYPOINTS, Keypoints, detect, working_copy
from ml.data.register import Alignment, agreement, align
from ml.imaging import Pixels
from ml.progress import track

# Score above which two images show the same part. Among the pairs of castings and tiles that were
# looked into, no different parts reached 0.14, and 98 in 100 copies lay above 0.18.
SAME_PART = 0.16
# Each image is compared closely with this many of its nearest.
_NEAREST = 16
_GREY_COPIES = 512


@dataclass(frozen=True)
class Copy:
    """Two images (by index, first < second) of one part; `score` is above SAME_PART, at most 1."""

    first: int
    second: int
    score: float
    alignment: Alignment

    @property
    def how(self) -> str:
        """In words: `turned by 90 degrees, mirrored`."""
        turn = f"turned by {self.alignment.turn} degrees" if self.alignment.turn else ""
        mirror = "mirrored" if self.alignment.is_mirrored else ""
        return ", ".join(filter(None, (turn, mirror))) or "as it is"


def find_copies(
    count: int,
    read: Callable[[int], Pixels],
    keys: Sequence[str],
    threshold: float = SAME_PART,
    *,
    threads: int = 1,
) -> list[Copy]:
    """Pairs of images with different `keys` that show the same part.

    `read` gives image 0 to `count` - 1 as RGB, to several threads at once. Two images are copies
    when one affine map carries many of their keypoints over (`share`) and the surfaces then agree
    in their fine detail (`agreement`); the score is the product. Nearest neighbours of a whitened
    VLAD vector say which pairs are tried. Time is linear in the images but for one blocked N x N
    product of 192-d vectors; memory is that of the vectors and one block, descriptors lie in a
    temporary file. The result does not depend on the number of threads.
    """
    if count < 2:
        return []

    @functools.lru_cache(maxsize=_GREY_COPIES)
    def grey(index: int) -> Pixels:
        return working_copy(read(index))

    def compared(pair: tuple[int, int]) -> Copy | None:
        a, b = pair
        alignment = align(keypoints[a], keypoints[b])
        if alignment is None or alignment.share <= threshold:
            return None
        score = alignment.share * agreement(grey(a), grey(b), alignment)
        return Copy(a, b, score, alignment) if score > threshold else None

    # The products are small: threads of their own cost more than they save.
    with tempfile.TemporaryFile() as file, threadpool_limits(limits=1, user_api="blas"):
        keypoints = _OnDisk(file, count)
        found = run_ahead(
            lambda index: detect(grey(index)), range(count), threads=threads, ahead=2 * threads
        )
        for index, each in enumerate(track(found, "keypoints", count)):
            keypoints.put(index, each)
        _leave_out_the_design(keypoints, threads)
        plain, turned = vectors(keypoints, codebook(keypoints))
        numbers = np.unique(np.asarray(keys), return_inverse=True)[1]
        pairs = neighbours(plain, turned, numbers, _NEAREST)
        copies = run_ahead(compared, pairs, threads=threads, ahead=2 * threads)
        return [one for one in track(copies, "compare", len(pairs)) if one is not None]


class _OnDisk:
    """Keypoints of a set; the descriptors, 38 kB an image, lie in a file that the system pages."""

    def __init__(self, file: IO[bytes], count: int) -> None:
        self._descriptors = np.memmap(file, np.uint8, shape=(count, MAX_KEYPOINTS, 128))
        self._rest = [(np.zeros((0, 2), np.float32), (0, 0))] * count

    def put(self, index: int, keypoints: Keypoints) -> None:
        self._descriptors[index, : len(keypoints.points)] = keypoints.descriptors
        self._rest[index] = (keypoints.points, keypoints.size)

    def __len__(self) -> int:
        return len(self._rest)

    def __getitem__(self, index: int) -> Keypoints:
        points, size = self._rest[index]
        return Keypoints(points, np.array(self._descriptors[index, : len(points)]), size)


def _leave_out_the_design(keypoints: _OnDisk, threads: int) -> None:
    plain, _ = vectors(keypoints, codebook(keypoints))
    chosen = {index: keypoints[index] for index in references(plain)}

    def own(index: int) -> Keypoints:
        others = [each for other, each in chosen.items() if other != index]
        return own_keypoints(keypoints[index], others)

    count = len(keypoints)
    found = run_ahead(own, range(count), threads=threads, ahead=2 * threads)
    for index, each in enumerate(track(found, "own keypoints", count)):
        keypoints.put(index, each)
