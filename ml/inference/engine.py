"""Run a bundle's ONNX models on decoded images."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from ml.bundle import Bundle
from ml.errors import BundleError
from ml.imaging import Pixels, to_batch
from ml.inference.verdict import Decision, decide

Floats = npt.NDArray[np.float32]

# The defect score of a mask: the mean of its most certain pixels, so that one pixel of noise does
# not fail a part, and a small defect still does.
TOP_SHARE = 0.001


@dataclass(frozen=True)
class Inspection:
    """What the models say of one image.

    `scores` are raw, by model. `anomaly_map` is float32 `[h, w]`; `defect_map` holds defect
    probabilities `[H, W]`, `features` the classifier's last feature map `[K, h, w]`.
    """

    decision: Decision
    scores: dict[str, float]
    defect_type: str
    area: float | None
    embedding: Floats
    anomaly_map: Floats | None = field(repr=False, default=None)
    defect_map: Floats | None = field(repr=False, default=None)


class Inspector:
    """The models of one bundle, loaded once. Not thread-safe to construct, safe to call."""

    def __init__(self, bundle: Bundle, threads: int = 0) -> None:
        self.bundle = bundle
        self._sessions = {
            name: open_session(bundle.model(name), threads) for name in bundle.card.models
        }

    def inspect(self, images: list[Pixels]) -> list[Inspection]:
        """Inspect decoded RGB images `[H, W, 3]`, uint8, of any sizes, in one batch."""
        if not images:
            return []
        outputs = {name: self._run(name, images) for name in self._sessions}
        return [self._one(outputs, index) for index in range(len(images))]

    def _run(self, name: str, images: list[Pixels]) -> dict[str, Floats]:
        batch = to_batch(images, self.bundle.card.models[name].size)
        session = self._sessions[name]
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, {"image": batch}), strict=True))

    def _one(self, outputs: dict[str, dict[str, Floats]], index: int) -> Inspection:
        scores: dict[str, float] = {}
        defect_type, area = "", None
        anomaly_map = defect_map = None
        if "classifier" in outputs:
            probabilities = softmax(outputs["classifier"]["logits"][index])
            scores["classifier"] = float(1 - probabilities[0])
            defect_type = self._most_likely_defect(probabilities)
        if "segmenter" in outputs:
            defect_map = sigmoid(outputs["segmenter"]["logits"][index, 0])
            scores["segmenter"] = mask_score(defect_map)
            area = float((defect_map > 0.5).mean())
        if "anomaly" in outputs:
            scores["anomaly"] = float(outputs["anomaly"]["score"][index])
            anomaly_map = outputs["anomaly"]["map"][index, 0]
        return Inspection(
            decide(self.bundle.card, scores),
            scores,
            defect_type,
            area,
            _embedding(outputs, index),
            anomaly_map,
            defect_map,
        )

    def _most_likely_defect(self, probabilities: Floats) -> str:
        if len(probabilities) < 2:
            return ""
        return self.bundle.card.classes[1 + int(np.argmax(probabilities[1:]))]


def open_session(path: Path, threads: int = 0) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session; raises BundleError when the file is not a model."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    available = onnxruntime.get_available_providers()
    wanted = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    try:
        return onnxruntime.InferenceSession(
            str(path), options, providers=[name for name in wanted if name in available]
        )
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's own errors share no base class
        msg = f"{path}: ONNX Runtime cannot load it: {error}"
        raise BundleError(msg) from error


def mask_score(defect_map: Floats) -> float:
    """Mean of the top 0.1 % of defect probabilities, at least one pixel."""
    count = max(1, int(defect_map.size * TOP_SHARE))
    top = np.partition(defect_map, defect_map.size - count, axis=None)[-count:]
    return float(top.mean())


def softmax(logits: Floats) -> Floats:
    """Softmax over the last axis."""
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)  # type: ignore[no-any-return]


def sigmoid(logits: Floats) -> Floats:
    """Logistic function, elementwise."""
    return 1 / (1 + np.exp(-np.clip(logits, -60, 60)))  # type: ignore[no-any-return]


def _embedding(outputs: dict[str, dict[str, Floats]], index: int) -> Floats:
    for name in ("anomaly", "classifier"):
        if name in outputs:
            return outputs[name]["embedding"][index]
    return np.zeros(0, np.float32)
