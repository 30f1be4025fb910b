"""The report's pictures, as PNG data URIs."""

import base64
import io
from typing import Any

import cv2
import numpy as np

from ml.bundle.card import Metric, Thresholds
from ml.evaluation.reliability import Curve
from ml.evaluation.scores import Flags, Numbers
from ml.imaging import Pixels

# Colour-blind safe (Okabe and Ito, 2008).
COLOURS = {
    "classifier": "#0072B2",
    "segmenter": "#009E73",
    "anomaly": "#E69F00",
    "fused": "#000000",
}
_GOOD, _DEFECT = "#56B4E9", "#D55E00"
_QUALITY = 88


def curves(scores: dict[str, Numbers], defect: Flags) -> str:
    """ROC and precision-recall curves of raw scores, by model."""
    figure, (roc, recall) = _figure(2)
    for name, values in scores.items():
        order = np.argsort(-values, kind="stable")
        last = np.append(np.diff(values[order]) != 0, True)
        hits = np.cumsum(defect[order])[last]
        alarms = np.cumsum(~defect[order])[last]
        found = np.append(0, hits) / max(defect.sum(), 1)
        false = np.append(0, alarms) / max((~defect).sum(), 1)
        roc.step(false, found, where="post", label=name, color=COLOURS[name])
        recall.step(found[1:], hits / (hits + alarms), where="pre", color=COLOURS[name])
    roc.set(xlabel="false alarms among good", ylabel="defects found", title="ROC")
    recall.set(xlabel="defects found (recall)", ylabel="precision", title="Precision and recall")
    for axes in (roc, recall):
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    roc.legend()
    return _encode(figure)


def histograms(scores: dict[str, Numbers], defect: Flags, thresholds: Thresholds) -> str:
    """Score histograms of good and defective images, by model; p_defect with its thresholds."""
    figure, rows = _figure(len(scores))
    for axes, (name, values) in zip(rows, scores.items(), strict=True):
        edges = np.histogram_bin_edges(values, bins=30)
        axes.hist(values[~defect], edges, alpha=0.65, label="good", color=_GOOD)
        axes.hist(values[defect], edges, alpha=0.65, label="defect", color=_DEFECT)
        axes.set(title=name, xlabel="p_defect" if name == "fused" else "raw score", ylabel="images")
        if name == "fused":
            for edge in (thresholds.pass_below, thresholds.fail_above):
                axes.axvline(edge, color="black", linestyle="--", linewidth=1)
    rows[0].legend()
    return _encode(figure)


def reliability(curves: dict[str, Curve], errors: dict[str, Metric]) -> str:
    """Reliability diagrams by model: share of defects over the mean probability of each bin.

    `errors` are the calibration errors (ECE) of the same models.
    """
    figure, rows = _figure(len(curves))
    for axes, (name, curve) in zip(rows, curves.items(), strict=True):
        axes.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1, label="calibrated")
        axes.vlines(curve.predicted, curve.low, curve.high, color=COLOURS[name], linewidth=1.5)
        axes.plot(curve.predicted, curve.observed, "o-", markersize=4, color=COLOURS[name])
        axes.set(title=f"{name}, ECE {errors[name].value:.3f}", xlabel="calibrated probability")
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    rows[0].set(ylabel="share of defects")
    rows[0].legend()
    return _encode(figure)


def photo_uri(image: Pixels) -> str:
    """An RGB image as JPEG in a `data:` address: a tenth of its PNG."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    content = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    return _data_uri("image/jpeg", content.tobytes())


def _figure(count: int) -> tuple[Any, list[Any]]:
    # The object interface: pyplot keeps global state and asks for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * count, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, [figure.add_subplot(1, count, index + 1) for index in range(count)]


def _encode(figure: Any) -> str:
    sink = io.BytesIO()
    # No software version or date inside: equal figures are equal bytes.
    figure.savefig(sink, format="png", dpi=90, metadata={"Software": None})
    return _data_uri("image/png", sink.getvalue())


def _data_uri(kind: str, content: bytes) -> str:
    # So that the page is one file.
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
