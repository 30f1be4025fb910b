"""Tell what one part alone shows from the design, print or background that all parts share."""

from collections.abc import Sequence

import numpy as np

from ml.data.keypoints import Floats, Keypoints
from ml.data.register import shared

_REFERENCES = 12
# A keypoint that this many references also have is no mark of one part. The references are as
# unlike as the set allows, so that hardly two of them are copies of one another.
_SHARED_BY = 3


def references(vectors: Floats) -> list[int]:
    """Indices of images spread over the set: greedy k-centre, from the first image on."""
    chosen = [0]
    nearest = vectors @ vectors[0]
    while len(chosen) < min(_REFERENCES, len(vectors)):
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, vectors @ vectors[chosen[-1]])
    return chosen


def own_keypoints(keypoints: Keypoints, others: Sequence[Keypoints]) -> Keypoints:
    """Those keypoints of an image that are not found again in several of the `others`."""
    found = np.zeros(len(keypoints.points), np.intp)
    for other in others:
        found += shared(keypoints, other)
    keep = found < _SHARED_BY
    return Keypoints(keypoints.points[keep], keypoints.descriptors[keep], keypoints.size)
