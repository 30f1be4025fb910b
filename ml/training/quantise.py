"""Static int8 quantisation of an exported model: QDQ, per channel, by convolutions.

Only convolutions are quantised. Scaling of the input, the linear head, and the projection and the
distances of an anomaly model stay in fp32: they hold few weights, and a score's last digits.
"""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import onnx

from ml.inference.engine import Floats
from ml.training.graph import (
    compute_bias_scales,
    compute_shared_biases,
    constants,
    drop_unused,
    drop_unused_constants,
    drop_zero_points,
    open_model,
    optimised,
    shorten_names,
)

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
# What every image lies within.
_IMAGE = (0.0, 255.0)
_ACTIVATIONS = ("Clip", "Relu")


def prepared(path: Path) -> onnx.ModelProto:
    """The model made ready: basic optimisation, shapes, and short names.

    Long names of tensors would be a twentieth of a quantised file.
    """
    model = optimised(onnx.load(str(path)))
    drop_unused(model)
    shorten_names(model)
    return onnx.shape_inference.infer_shapes(model)


def layers(model: onnx.ModelProto) -> dict[str, int]:
    """The convolutions that can be quantised, and how many weights each has."""
    known = constants(model)
    return {
        node.name: int(np.prod(known[node.input[1]].dims))
        for node in model.graph.node
        if node.op_type == "Conv" and node.input[1] in known
    }


def activation_ranges(
    model: onnx.ModelProto, images: Iterable[Floats], threads: int
) -> dict[Method, Ranges]:
    """The range of every tensor around the convolutions, by each method.

    `images` are `[3, H, W]`, 0-255. "percentile" leaves out 0.01 % of the values at either end;
    "mse" clips where the squared error of rounding and clipping together is the least.
    """
    probe, names = _with_inner_outputs(model)
    session = open_model(probe, threads)
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
    found: dict[Method, Ranges] = {
        "minmax": {name: (low[name], high[name]) for name in names},
        "percentile": {name: (float(a), float(b)) for name, (a, b) in percentile.items()},
        "mse": {name: _least_error(values[name], low[name], high[name]) for name in names},
    }
    return {method: ranges | {"image": _IMAGE} for method, ranges in found.items()}


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
    if not chosen:  # to the quantiser, no node named means every node
        return bytes(copy.SerializeToString(deterministic=True))
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
    # A layer's biases would take three times their bytes; what is computed stays the same.
    drop_zero_points(found)
    compute_bias_scales(found)
    compute_shared_biases(found, model)
    drop_unused_constants(found)
    shorten_names(found)
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


def _with_inner_outputs(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """A copy that also puts out the tensors around its convolutions, and their names."""
    around = _with_activations(model, layers(model))
    known = constants(model)
    names = sorted(
        {
            name
            for node in model.graph.node
            if node.name in around
            for name in (*node.input, *node.output)
            if name and name not in known and name != "image"
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
