"""Weights that are computed with in fp32, kept in eight bits in the file.

What static quantisation leaves in fp32 (layers it would harm, a memory bank, linear layers) is most
of the bytes of a quantised file. Rounded to eight bits with a scale for each channel, such weights
are multiplied out once, when the file is loaded: the arithmetic stays fp32, and as fast.
"""

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from ml.inference.engine import Floats

Codes = npt.NDArray[np.int8]

# Smaller tensors, such as normalisations and first layers, stay as they are.
_LEAST = 1024
_STEPS = 127


def packed(content: bytes) -> bytes:
    """The ONNX file with its larger fp32 matrices and kernels in eight bits."""
    model = onnx.load_from_string(content)
    unpack, constants = [], []
    for tensor in model.graph.initializer:
        large = len(tensor.dims) > 1 and np.prod(tensor.dims) >= _LEAST
        if tensor.data_type != TensorProto.FLOAT or not large:
            constants.append(tensor)
            continue
        codes, scale = _eight_bits(numpy_helper.to_array(tensor))
        name, names = tensor.name, [f"{tensor.name}{part}" for part in ("q", "s", "f")]
        constants += [numpy_helper.from_array(codes, names[0])]
        constants += [numpy_helper.from_array(scale, names[1])]
        unpack += [helper.make_node("Cast", names[:1], names[2:], to=TensorProto.FLOAT)]
        unpack += [helper.make_node("Mul", [names[2], names[1]], [name])]
    nodes = [*unpack, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(constants)
    model.graph.node.extend(nodes)
    return bytes(model.SerializeToString(deterministic=True))


def _eight_bits(weights: Floats) -> tuple[Codes, Floats]:
    """Codes and scales whose product is nearest to the weights, of the first or the last axis."""
    rounded = [_rounded(weights, axis) for axis in (0, weights.ndim - 1)]
    return min(rounded, key=lambda pair: float(np.square(pair[0] * pair[1] - weights).sum()))


def _rounded(weights: Floats, axis: int) -> tuple[Codes, Floats]:
    rest = tuple(number for number in range(weights.ndim) if number != axis)
    largest = np.abs(weights).max(axis=rest, keepdims=True)
    scale = np.where(largest > 0, largest / _STEPS, 1).astype(np.float32)
    return np.rint(weights / scale).astype(np.int8), scale
