"""Where a model sees the defect, as a heat map over the image."""

import cv2
import numpy as np
import numpy.typing as npt

from ml.bundle import Bundle
from ml.imaging import Pixels
from ml.inference.engine import Floats, Scored

# Row per class, column per channel of the classifier's last feature map; lies in the bundle.
HEAD = "classifier_head.npy"

_OPACITY = 0.45
# Cyan: on grey and on all colours of a heat map it is seen.
_OUTLINE = (0, 229, 255)


def read_head(bundle: Bundle) -> Floats | None:
    """Weights `[C, K]` of the classifier's linear layer; None when the bundle has none."""
    path = bundle.folder / HEAD
    return np.load(path, allow_pickle=False) if path.exists() else None


def grad_cam(features: Floats, weights: Floats) -> Floats:
    """Grad-CAM (Selvaraju et al., ICCV 2017) of one class, without a backward pass.

    For global average pooling and one linear layer, the gradient of a logit by the feature map
    `[K, h, w]` is that class's row of `weights` `[K]` over h * w, so the map is their weighted sum,
    cut off below zero. Of a classifier that pools several strides `features` are what each place
    adds to the pooled values, and the map says where the logit comes from.
    Returns float32 `[h, w]`.
    """
    height, width = features.shape[1:]
    weighted = np.tensordot(weights, features, axes=1) / (height * width)
    return np.asarray(np.maximum(weighted, 0), np.float32)


def heat_map(scored: Scored, head: Floats | None = None) -> Floats | None:
    """The best localisation that the models give, `[h, w]`: the first of `heat_maps`."""
    return next(iter(heat_maps(scored, head).values()), None)


def heat_maps(scored: Scored, head: Floats | None = None) -> dict[str, Floats]:
    """Each model's localisation `[h, w]`: the segmenter's mask, anomaly distances, and Grad-CAM of
    the classifier's most likely defect type, for which `head` is needed.
    """
    maps = {
        "segmenter": scored.defect_map,
        "anomaly": scored.anomaly_map,
        "classifier": _class_map(scored, head),
    }
    return {name: heat for name, heat in maps.items() if heat is not None}


def _class_map(scored: Scored, head: Floats | None) -> Floats | None:
    if scored.features is None or scored.probabilities is None or head is None:
        return None
    return grad_cam(scored.features, head[1 + int(np.argmax(scored.probabilities[1:]))])


def overlay(image: Pixels, heat: Floats, highest: float | None = None) -> Pixels:
    """Blend a heat map of any size over an RGB image; `highest` is shown as the hottest."""
    top = float(heat.max()) if highest is None else highest
    scaled = np.clip(heat / max(top, 1e-6), 0, 1)
    large = cv2.resize(scaled, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR)
    coloured = cv2.applyColorMap((large * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    rgb = cv2.cvtColor(coloured, cv2.COLOR_BGR2RGB)
    return np.asarray(cv2.addWeighted(image, 1 - _OPACITY, rgb, _OPACITY, 0), np.uint8)


def outline(image: Pixels, mask: npt.NDArray[np.bool_]) -> Pixels:
    """A copy of an RGB image with the border of a mask of the same size in cyan."""
    contours, _ = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    thickness = max(1, max(image.shape[:2]) // 200)
    return np.asarray(cv2.drawContours(image.copy(), contours, -1, _OUTLINE, thickness))


def to_png(image: Pixels, side: int | None = None) -> bytes:
    """RGB pixels as PNG bytes, shrunk to at most `side` pixels a side."""
    longest = max(image.shape[:2])
    if side is not None and longest > side:
        size = [max(1, round(length * side / longest)) for length in image.shape[1::-1]]
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
