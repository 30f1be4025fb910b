"""Whether the networks that a line asks for can be built, asked before there is any data."""

from collections.abc import Callable

from torch import nn

from ml.errors import TrainingError
from ml.models.classifier import Classifier
from ml.models.patches import PatchFeatures, anomaly_features
from ml.models.segmenter import Segmenter
from ml.models.student import StudentTeacher
from ml.settings import LineConfig
from ml.settings.models import BackboneConfig, ModelName


def require_networks(line: LineConfig) -> None:
    """Build each network of a line and let it go; what the hub has is not fetched.

    Raises TrainingError that names the model: its backbone lacks the strides that are asked for,
    does not suit the model or its size, or the weights are another network's.
    """
    for model in line.models:
        backbone = line.backbone_of(model)
        if ":" in backbone.name:  # of another hub, which alone knows it
            continue
        if backbone.weights == "hub":
            backbone = backbone.model_copy(update={"weights": "none"})
        try:
            _BUILDERS[model](line, backbone)
        except TrainingError as error:
            msg = f"line {line.name}, {model}: {error}"
            raise TrainingError(msg) from error


def _classifier(line: LineConfig, backbone: BackboneConfig) -> nn.Module:
    config = line.classifier
    return Classifier(
        backbone, 2, line.seed, strides=config.strides, frozen_stride=config.frozen_stride
    )


def _segmenter(line: LineConfig, backbone: BackboneConfig) -> nn.Module:
    if line.segmenter.method == "patches":
        return PatchFeatures(backbone, line.segmenter, line.seed)
    return Segmenter(backbone, line.segmenter.decoder, line.seed)


def _anomaly(line: LineConfig, backbone: BackboneConfig) -> nn.Module:
    if line.anomaly.method == "student_teacher":
        return StudentTeacher(backbone, line.anomaly, line.seed)
    return anomaly_features(backbone, line.anomaly, line.seed)


_BUILDERS: dict[ModelName, Callable[[LineConfig, BackboneConfig], nn.Module]] = {
    "classifier": _classifier,
    "segmenter": _segmenter,
    "anomaly": _anomaly,
}
