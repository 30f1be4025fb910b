"""Surgery on exported ONNX graphs that leaves what they compute as it is."""

import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper


def fold_padding(model: onnx.ModelProto) -> None:
    """Replace paddings that are computed from the (fixed) size of the image by what they come to.

    timm computes TensorFlow's SAME padding in the graph.
    """
    known = constants(model)
    computed = [
        node for node in model.graph.node if node.op_type == "Pad" and node.input[1] not in known
    ]
    if not computed:
        return
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    names = [node.input[1] for node in computed]
    infos = (onnx.helper.make_tensor_value_info(name, TensorProto.INT64, None) for name in names)
    probe.graph.output.extend(infos)
    session = open_model(probe, 1)
    size = session.get_inputs()[0].shape[1:]
    blank = np.zeros((1, *size), np.float32)
    for node, pads in zip(computed, session.run(names, {"image": blank}), strict=True):
        model.graph.initializer.append(numpy_helper.from_array(pads, f"{node.name}/fixed"))
        node.input[1] = f"{node.name}/fixed"


def drop_unused(model: onnx.ModelProto) -> None:
    """Delete nodes, sorted as they run, and constants that no output needs."""
    needed = {output.name for output in model.graph.output}
    kept = []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(kept))
    drop_unused_constants(model)


def drop_unused_constants(model: onnx.ModelProto) -> None:
    """Delete constants that no node and no output takes."""
    needed = {name for node in model.graph.node for name in node.input}
    needed |= {output.name for output in model.graph.output}
    used = [one for one in model.graph.initializer if one.name in needed]
    del model.graph.initializer[:]
    model.graph.initializer.extend(used)


def optimised(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model after ONNX Runtime's basic optimisation, such as paddings fused into layers."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        options = onnxruntime.SessionOptions()
        # Basic alone is the same on every processor.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        open_model(model, 1, options)
        return onnx.load(str(path))


def shorten_names(model: onnx.ModelProto) -> None:
    """Give nodes, inner tensors and constants names of few letters."""
    kept = {one.name for one in (*model.graph.input, *model.graph.output)} | {""}
    short: dict[str, str] = {}

    def renamed(name: str) -> str:
        # The quantiser appends numbers to names: without the mark, `t1` and `t10` would meet.
        return name if name in kept else short.setdefault(name, f"t{len(short)}_")

    for number, node in enumerate(model.graph.node):
        node.name = f"n{number}"
        node.input[:] = [renamed(name) for name in node.input]
        node.output[:] = [renamed(name) for name in node.output]
    for constant in model.graph.initializer:
        constant.name = renamed(constant.name)
    model.graph.ClearField("value_info")


def drop_zero_points(model: onnx.ModelProto) -> None:
    """Leave out the zero points that are zero: DequantizeLinear takes them for so where none is."""
    known = constants(model)
    for node in model.graph.node:
        if node.op_type != "DequantizeLinear" or len(node.input) < 3 or node.input[2] not in known:
            continue
        if not numpy_helper.to_array(known[node.input[2]]).any():
            del node.input[2]


def compute_bias_scales(model: onnx.ModelProto) -> None:
    """Replace the scales of int32 biases by the product that they are: input's times weights'.

    ONNX Runtime multiplies them once, when it loads the model.
    """
    known = {name: numpy_helper.to_array(one) for name, one in constants(model).items()}
    made = {output: node for node in model.graph.node for output in node.output}
    products = []
    for node in model.graph.node:
        if node.op_type != "Conv" or len(node.input) < 3:
            continue
        sources = [made.get(name) for name in node.input]
        if any(one is None or one.op_type != "DequantizeLinear" for one in sources):
            continue
        image, weights, bias = (one.input[1] for one in sources if one is not None)
        # Not where the biases serve two layers: they are done.
        if bias not in known or not np.array_equal(known[image] * known[weights], known[bias]):
            continue
        product = f"{node.name}/bias scale"
        products.append(onnx.helper.make_node("Mul", [image, weights], [product]))
        sources[2].input[1] = product  # type: ignore[union-attr]
    nodes = [*products, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def compute_shared_biases(model: onnx.ModelProto, before: onnx.ModelProto) -> None:
    """Keep a bias that several layers share once, as `before`, the model in float32, has it.

    So they do where a network sees an image at several scales; the quantiser makes an int32 bias
    for each, whose scale `compute_bias_scales` left as a product. ONNX Runtime rounds them anew
    once, when it loads the model.
    """
    known = {name: numpy_helper.to_array(one) for name, one in constants(model).items()}
    made = {output: node for node in model.graph.node for output in node.output}
    shared = _shared_biases(before)
    rounded = {}
    for node in model.graph.node:
        source = made.get(node.input[2]) if node.name in shared else None
        product = made.get(source.input[1]) if source is not None else None
        # One that serves two layers is done once.
        if source is None or product is None or source.input[0] not in known:
            continue
        # The quantiser has given the bias's own name to what is dequantised.
        bias, name = f"{shared[node.name].name}/float", f"{node.name}/bias"
        values = numpy_helper.to_array(shared[node.name])
        steps = np.rint(values / (known[product.input[0]] * known[product.input[1]]))
        if not np.array_equal(steps, known[source.input[0]]):
            continue
        rounded[source.output[0]] = _rounded(bias, product.output[0], name)
        source.input[0] = name
        if bias not in known:
            known[bias] = values
            model.graph.initializer.append(numpy_helper.from_array(values, bias))
    nodes = [one for node in model.graph.node for one in (*rounded.get(node.output[0], ()), node)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _shared_biases(model: onnx.ModelProto) -> dict[str, TensorProto]:
    """The biases of those convolutions that share theirs, by the name of the layer."""
    known = constants(model)
    biases = {
        node.name: node.input[2]
        for node in model.graph.node
        if node.op_type == "Conv" and len(node.input) == 3 and node.input[2] in known
    }
    uses = Counter(biases.values())
    return {layer: known[bias] for layer, bias in biases.items() if uses[bias] > 1}


def _rounded(values: str, scale: str, name: str) -> list[onnx.NodeProto]:
    """The nodes that make int32 steps of a scale of a constant, as the quantiser rounds them."""
    make = onnx.helper.make_node
    return [
        make("Div", [values, scale], [f"{name} in steps"]),
        make("Round", [f"{name} in steps"], [f"{name} rounded"]),
        make("Cast", [f"{name} rounded"], [name], to=TensorProto.INT32),
    ]


def constants(model: onnx.ModelProto) -> dict[str, TensorProto]:
    """The constants by name."""
    return {tensor.name: tensor for tensor in model.graph.initializer}


def open_model(
    model: onnx.ModelProto, threads: int, options: onnxruntime.SessionOptions | None = None
) -> onnxruntime.InferenceSession:
    """A session on a model in memory."""
    options = options or onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
