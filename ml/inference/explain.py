"""Where a model sees the defect, as a heat map over the image."""

import cv2
import numpy as np

from ml.imaging import Pixels
from ml.inference.engine import Floats, Scored

_OPACITY = 0.45


def heat_map(scored: Scored) -> Floats | None:
    """The best localisation that the models give, `[h, w]`: mask, else anomaly distances."""
    return scored.defect_map if scored.defect_map is not None else scored.anomaly_map


def overlay(image: Pixels, heat: Floats, highest: float | None = None) -> Pixels:
    """Blend a heat map of any size over an RGB image; `highest` is shown as the hottest."""
    top = float(heat.max()) if highest is None else highest
    scaled = np.clip(heat / max(top, 1e-6), 0, 1)
    large = cv2.resize(scaled, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR)
    coloured = cv2.applyColorMap((large * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    rgb = cv2.cvtColor(coloured, cv2.COLOR_BGR2RGB)
    return np.asarray(cv2.addWeighted(image, 1 - _OPACITY, rgb, _OPACITY, 0), np.uint8)


def to_png(image: Pixels) -> bytes:
    """RGB pixels as PNG bytes."""
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
