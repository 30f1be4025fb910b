"""Lay one image over another and say how much of its fine detail agrees."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ml.data.keypoints import Floats, Keypoints, mirrored, root
from ml.imaging import Pixels

# Three points fix an affine map; as many as this do not agree on one by chance.
MIN_INLIERS = 12
_REACH = 3.0  # pixels of the working copy
_SIMILAR = 0.8  # cosine of two RootSIFT descriptors
# A copy is turned, shifted, a little stretched or cropped; a map beyond that is a mistake.
_MAX_STRETCH = 1.5
# Grey levels: below it a window shows nothing but sensor noise or an encoder's blocks.
_MIN_CONTRAST = 1.0
_MIN_TEXTURED = 0.1  # of the overlap
_SCALES = (1, 2, 4)


@dataclass(frozen=True)
class Alignment:
    """An affine map `[2, 3]` from the first image (mirrored first if so said) to the second.

    `share` is the part of the keypoints in the overlap that the map carries onto their match.
    """

    matrix: npt.NDArray[np.float64]
    is_mirrored: bool
    share: float

    @property
    def turn(self) -> int:
        """Degrees, anticlockwise, 0 to 359."""
        return int(round(-np.degrees(np.arctan2(self.matrix[1, 0], self.matrix[0, 0]))) % 360)


def align(first: Keypoints, second: Keypoints) -> Alignment | None:
    """The best affine map, as it is or mirrored; None when there is none beyond chance."""
    found = [_align(first, second, False), _align(mirrored(first), second, True)]
    return max((a for a in found if a is not None), key=lambda a: a.share, default=None)


def agreement(first: Pixels, second: Pixels, alignment: Alignment) -> float:
    """Lower quartile of the local correlations of fine detail over the overlap, 0 to 1.

    `first` and `second` are working copies. Three quarters of the textured surface agree at
    least this well: a design that parts share matches along its edges, a copy everywhere. The
    scale is the finest at which both show texture; 0 where they show none.
    """
    if alignment.is_mirrored:
        first = np.ascontiguousarray(first[:, ::-1])
    size = second.shape[::-1]
    inside = cv2.warpAffine(np.ones(first.shape, np.float32), alignment.matrix, size)
    laid = cv2.warpAffine(
        first.astype(np.float32), alignment.matrix, size, borderMode=cv2.BORDER_REPLICATE
    )
    for scale in _SCALES:
        # At the rim of the overlap the detail already knows what lies outside.
        rim = np.ones((2 * round(4 * scale) + 1,) * 2)
        overlap = cv2.erode(np.float32(inside > 0.99), rim)
        local = _local_correlation(
            _detail(laid, scale), _detail(second.astype(np.float32), scale), overlap, 6 * scale
        )
        if local.size > _MIN_TEXTURED * max(overlap.sum(), 1):
            return max(0.0, float(np.quantile(local, 0.25)))
    return 0.0


def _local_correlation(a: Floats, b: Floats, overlap: Floats, sigma: float) -> Floats:
    """Correlation in a Gaussian window around each pixel of the overlap where both vary."""

    def mean(image: Floats) -> Floats:
        return np.asarray(cv2.GaussianBlur(image * overlap, (0, 0), sigma) / weight, np.float32)

    weight = cv2.GaussianBlur(overlap, (0, 0), sigma) + 1e-6
    power_a, power_b = mean(a * a), mean(b * b)
    textured = (overlap > 0) & (np.minimum(power_a, power_b) > _MIN_CONTRAST**2)
    local = mean(a * b)[textured] / np.sqrt(power_a[textured] * power_b[textured])
    return np.asarray(local, np.float32)


def shared(first: Keypoints, second: Keypoints) -> npt.NDArray[np.bool_]:
    """`[K]`: which keypoints of the first image the second has too, where an affine map says.

    Looks at the place alone, so it finds also those whose match was not clear enough for the map.
    """
    fitted = _fit(first, second)
    if fitted is None:
        return np.zeros(len(first.points), np.bool_)
    moved = _moved(first.points, fitted[0])
    apart = np.linalg.norm(moved[:, None] - second.points[None], axis=2)
    similar = root(first.descriptors) @ root(second.descriptors).T > _SIMILAR
    return np.asarray(((apart < _REACH) & similar).any(axis=1))


def _align(first: Keypoints, second: Keypoints, is_mirrored: bool) -> Alignment | None:
    fitted = _fit(first, second)
    if fitted is None:
        return None
    matrix, inliers = fitted
    back = cv2.invertAffineTransform(matrix)
    visible = min(
        _inside(first.points, matrix, second.size), _inside(second.points, back, first.size)
    )
    return Alignment(matrix, is_mirrored, min(1.0, len(inliers) / max(visible, 1)))


def _fit(
    first: Keypoints, second: Keypoints
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.intp]] | None:
    """An affine map and the keypoints of the first image that obey it; None if by chance."""
    a, b = _matches(root(first.descriptors), root(second.descriptors))
    if len(a) < MIN_INLIERS:
        return None
    matrix, inlier = cv2.estimateAffine2D(
        first.points[a],
        second.points[b],
        method=cv2.RANSAC,
        ransacReprojThreshold=_REACH,
        maxIters=500,
        confidence=0.999,
    )
    if matrix is None or inlier.sum() < MIN_INLIERS or not _is_plausible(matrix):
        return None
    return matrix, a[inlier.ravel() > 0]


def _matches(
    a: Floats, b: Floats, ratio: float = 0.9
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Indices of mutual nearest descriptors, clearly nearer than the next (Lowe's ratio)."""
    if len(a) < 2 or len(b) < 2:
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    similarity = a @ b.T
    nearest, back = similarity.argmax(axis=1), similarity.argmax(axis=0)
    mutual = np.flatnonzero(back[nearest] == np.arange(len(a)))
    rows, best = similarity[mutual], similarity[mutual, nearest[mutual]]
    rows[np.arange(len(mutual)), nearest[mutual]] = -1
    second = rows.max(axis=1)
    clear = mutual[(1 - best) < ratio**2 * (1 - second)]
    return clear, nearest[clear]


def _is_plausible(matrix: npt.NDArray[np.float64]) -> bool:
    if np.linalg.det(matrix[:, :2]) <= 0:
        return False
    stretch = np.linalg.svd(matrix[:, :2], compute_uv=False)
    return bool(stretch[0] < _MAX_STRETCH * stretch[1] and stretch[1] > 0.5 and stretch[0] < 2)


def _moved(points: Floats, matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2])


def _inside(points: Floats, matrix: npt.NDArray[np.float64], size: tuple[int, int]) -> int:
    moved = _moved(points, matrix)
    return int(((moved >= 0) & (moved < (size[1], size[0]))).all(axis=1).sum())


def _detail(image: Floats, scale: float) -> Floats:
    fine = cv2.GaussianBlur(image, (0, 0), 0.7 * scale)
    return np.asarray(fine - cv2.GaussianBlur(image, (0, 0), 3 * scale), np.float32)
