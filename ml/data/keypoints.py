"""Keypoints of an image: what stays the same when it is turned, shifted, re-lit or re-encoded."""

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from ml.imaging import Pixels

Floats = npt.NDArray[np.float32]

# Images are compared at one area (in pixels), so that the camera's resolution does not matter.
_AREA = 224**2
# More keypoints find more of a small overlap and cost quadratically more to match.
MAX_KEYPOINTS = 300
_LENGTH = 128


@dataclass(frozen=True)
class Keypoints:
    """The strongest keypoints of one image.

    `points` float32 `[K, 2]` are x, y in pixels of the working copy, `descriptors` uint8
    `[K, 128]` are SIFT (Lowe, IJCV 2004), `size` is the working copy's (height, width).
    """

    points: Floats
    descriptors: Pixels
    size: tuple[int, int]


class KeypointSet(Protocol):
    """The keypoints of a set of images, by index."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Keypoints: ...


def working_copy(image: Pixels) -> Pixels:
    """RGB `[H, W, 3]` as grey `[h, w]`, uint8, of the one area at which images are compared."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    scale = (_AREA / grey.size) ** 0.5
    size = (max(8, round(grey.shape[1] * scale)), max(8, round(grey.shape[0] * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(grey, size, interpolation=how), np.uint8)


def detect(grey: Pixels) -> Keypoints:
    """Keypoints of a working copy, after its local contrast was evened out (CLAHE)."""
    even = cv2.createCLAHE(2, (8, 8)).apply(grey)
    # A low contrast and a high edge threshold: brushed metal has little else than faint lines.
    sift = cv2.SIFT.create(MAX_KEYPOINTS, contrastThreshold=0.01, edgeThreshold=20, sigma=1.2)
    found, descriptors = sift.detectAndCompute(even, None)
    if not found:
        return Keypoints(np.zeros((0, 2), np.float32), np.zeros((0, _LENGTH), np.uint8), grey.shape)
    strongest = np.argsort([-point.response for point in found], kind="stable")[:MAX_KEYPOINTS]
    points = np.array([found[i].pt for i in strongest], np.float32)
    return Keypoints(points, descriptors[strongest].astype(np.uint8), grey.shape)


def root(descriptors: Pixels) -> Floats:
    """RootSIFT, unit length (Arandjelovic and Zisserman, CVPR 2012): `[K, 128]` float32."""
    values = descriptors.astype(np.float32)
    return np.asarray(
        np.sqrt(values / np.maximum(values.sum(axis=1, keepdims=True), 1)), np.float32
    )


def mirrored(keypoints: Keypoints) -> Keypoints:
    """The keypoints of the image mirrored left to right, without looking at it again.

    A descriptor is 4 rows x 4 columns x 8 directions in the frame of its keypoint: mirroring
    reverses the rows and the sense of the directions.
    """
    points = keypoints.points.copy()
    points[:, 0] = keypoints.size[1] - 1 - points[:, 0]
    cells = keypoints.descriptors.reshape(-1, 4, 4, 8)[:, ::-1][..., [0, 7, 6, 5, 4, 3, 2, 1]]
    return Keypoints(points, np.ascontiguousarray(cells).reshape(-1, _LENGTH), keypoints.size)
