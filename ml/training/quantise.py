"""Static int8 quantisation of an exported model: QDQ, per channel, by convolutions.

Only convolutions are quantised. Scaling of the input, the linear head, and the projection and the
distances of an anomaly model stay in fp32: they hold few weights, and a score's last digits.
"""

import tempfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper

from ml.inference.engine import Floats

Method = Literal["minmax", "percentile", "mse"]
# Lowest and highest value of each tensor.
Ranges = dict[str, tuple[float, float]]

METHODS: tuple[Method, ...] = ("minmax", "percentile", "mse")
_PERCENTILE = 99.99
# Values kept of each tensor and image, for the methods that look at more than the extremes.
_VALUES = 1000
# Shares of the whole range that "mse" tries.
_CLIPS = np.linspace(0.2, 1.0, 17)
_LEVELS = 255
_ACTIVATIONS = ("Clip", "Relu")


def prepared(path: Path) -> onnx.ModelProto:
    """The model made ready: constant padding, basic optimisation, shapes, short names.

    ONNX Runtime cannot fuse a padding that it computes anew for every image; long names of tensors
    would be a tenth of a quantised file.
    """
    model = onnx.load(str(path))
    _fold_padding(model)
    _drop_unused(model)
    model = _optimised(model)
    _drop_unused(model)
    _shorten_names(model)
    return onnx.shape_inference.infer_shapes(model)


def layers(model: onnx.ModelProto) -> dict[str, int]:
    """The convolutions that can be quantised, and how many weights each has."""
    constants = _constants(model)
    return {
        node.name: int(np.prod(constants[node.input[1]].dims))
        for node in model.graph.node
        if node.op_type == "Conv" and node.input[1] in constants
    }


def activation_ranges(
    model: onnx.ModelProto, images: Iterable[Floats], threads: int
) -> dict[Method, Ranges]:
    """The range of every tensor around the convolutions, by each method.

    `images` are `[3, H, W]`, 0-255. "percentile" leaves out 0.01 % of the values at either end;
    "mse" clips where the squared error of rounding and clipping together is the least.
    """
    probe, names = _with_inner_outputs(model)
    session = _session(probe, threads)
    low = dict.fromkeys(names, np.inf)
    high = dict.fromkeys(names, -np.inf)
    kept: dict[str, list[Floats]] = {name: [] for name in names}
    for image in images:
        for name, tensor in zip(names, session.run(names, {"image": image[None]}), strict=True):
            values = tensor.ravel()
            low[name] = min(low[name], float(values.min()))
            high[name] = max(high[name], float(values.max()))
            kept[name].append(values[:: max(1, len(values) // _VALUES)].copy())
    values = {name: np.concatenate(parts) for name, parts in kept.items()}
    ends = [100 - _PERCENTILE, _PERCENTILE]
    percentile = {name: np.percentile(some, ends) for name, some in values.items()}
    return {
        "minmax": {name: (low[name], high[name]) for name in names},
        "percentile": {name: (float(a), float(b)) for name, (a, b) in percentile.items()},
        "mse": {name: _least_error(values[name], low[name], high[name]) for name in names},
    }


def quantised(model: onnx.ModelProto, ranges: Ranges, chosen: Collection[str]) -> bytes:
    """The model with these convolutions in int8; equal inputs give equal bytes.

    Weights have seven bits: with eight, the sums of processors without VNNI saturate, and scores
    would hang on the processor.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    limits = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
    quantizer = QDQQuantizer(
        copy,
        per_channel=True,
        reduce_range=True,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, limits),
        nodes_to_quantize=sorted(_with_activations(model, chosen)),
        nodes_to_exclude=[],
        op_types_to_quantize=["Conv", *_ACTIVATIONS],
        extra_options={},
    )
    quantizer.quantize_model()
    found = quantizer.model.model
    found.graph.ClearField("value_info")
    return bytes(found.SerializeToString(deterministic=True))


def order_by_harm(harm: Mapping[str, float], weights: Mapping[str, int]) -> list[str]:
    """Layers by the harm that quantising them does for each weight that it makes smaller."""
    return sorted(harm, key=lambda name: (-harm[name] / weights[name], name))


def within_budget(order: Iterable[str], weights: Mapping[str, int], share: float) -> set[str]:
    """The first layers of `order` that together have at most `share` of all weights."""
    left = share * sum(weights.values())
    taken = set()
    for name in order:
        if weights[name] <= left:
            left -= weights[name]
            taken.add(name)
    return taken


def _fold_padding(model: onnx.ModelProto) -> None:
    """Replace paddings that are computed from the (fixed) size of the image by what they come to.

    timm computes TensorFlow's SAME padding in the graph.
    """
    constants = _constants(model)
    computed = [
        node
        for node in model.graph.node
        if node.op_type == "Pad" and node.input[1] not in constants
    ]
    if not computed:
        return
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    names = [node.input[1] for node in computed]
    infos = (onnx.helper.make_tensor_value_info(name, TensorProto.INT64, None) for name in names)
    probe.graph.output.extend(infos)
    session = _session(probe, 1)
    size = session.get_inputs()[0].shape[1:]
    blank = np.zeros((1, *size), np.float32)
    for node, pads in zip(computed, session.run(names, {"image": blank}), strict=True):
        model.graph.initializer.append(numpy_helper.from_array(pads, f"{node.name}/fixed"))
        node.input[1] = f"{node.name}/fixed"


def _drop_unused(model: onnx.ModelProto) -> None:
    """Delete nodes and constants that no output needs."""
    needed = {output.name for output in model.graph.output}
    kept = []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    constants = [one for one in model.graph.initializer if one.name in needed]
    del model.graph.node[:]
    del model.graph.initializer[:]
    model.graph.node.extend(reversed(kept))
    model.graph.initializer.extend(constants)


def _optimised(model: onnx.ModelProto) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        options = onnxruntime.SessionOptions()
        # Basic alone is the same on every processor.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        _session(model, 1, options)
        return onnx.load(str(path))


def _shorten_names(model: onnx.ModelProto) -> None:
    kept = {one.name for one in (*model.graph.input, *model.graph.output)} | {""}
    short: dict[str, str] = {}

    def renamed(name: str) -> str:
        return name if name in kept else short.setdefault(name, f"t{len(short)}")

    for number, node in enumerate(model.graph.node):
        node.name = f"n{number}"
        node.input[:] = [renamed(name) for name in node.input]
        node.output[:] = [renamed(name) for name in node.output]
    for constant in model.graph.initializer:
        constant.name = renamed(constant.name)
    model.graph.ClearField("value_info")


def _with_inner_outputs(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """A copy that also puts out the tensors around its convolutions, and their names."""
    around = _with_activations(model, layers(model))
    constants = _constants(model)
    names = sorted(
        {
            name
            for node in model.graph.node
            if node.name in around
            for name in (*node.input, *node.output)
            if name and name not in constants
        }
    )
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    present = {output.name for output in model.graph.output}
    infos = {info.name: info for info in model.graph.value_info}
    probe.graph.output.extend(infos[name] for name in names if name not in present)
    return probe, names


def _with_activations(model: onnx.ModelProto, chosen: Collection[str]) -> set[str]:
    """The convolutions and the activations behind them, which int8 computes by its limits."""
    found = {output for node in model.graph.node if node.name in chosen for output in node.output}
    behind = (
        node.name
        for node in model.graph.node
        if node.op_type in _ACTIVATIONS and node.input[0] in found
    )
    return {*chosen, *behind}


def _least_error(values: Floats, low: float, high: float) -> tuple[float, float]:
    def error(share: float) -> float:
        bottom, top = min(low * share, 0.0), max(high * share, 0.0)
        step = (top - bottom) / _LEVELS or 1.0
        levels = np.clip(np.round((values - bottom) / step), 0, _LEVELS)
        return float(((levels * step + bottom - values) ** 2).mean())

    best = min(_CLIPS, key=error)
    return float(low * best), float(high * best)


def _constants(model: onnx.ModelProto) -> dict[str, Any]:
    return {tensor.name: tensor for tensor in model.graph.initializer}


def _session(
    model: onnx.ModelProto, threads: int, options: onnxruntime.SessionOptions | None = None
) -> onnxruntime.InferenceSession:
    options = options or onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
