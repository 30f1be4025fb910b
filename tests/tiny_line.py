"""A line small enough for tests: red squares on grey plates, and ONNX models that see red.

The models are written with onnx.helper, so that nothing is trained.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import TensorProto, helper, numpy_helper

from ml import files
from ml.bundle import Bundle
from ml.data import catalog
from ml.data.measure import measure
from ml.evaluation.evaluate import evaluate
from ml.settings import Env, Home, LineConfig
from ml.training.run import run_name

SIDE = 32
DAY = "2026-01-05"
# Images of DAY; those after them are of the day before, for a validation split that is worth one.
DAY_IMAGES = 60
DATASET = "tinydataset"
SIZE = (SIDE, SIDE)

# A line whose models are really trained, in seconds.
_TRAINING = """
name = "tiny"
title = "Tiny line"
models = {models}
[source]
uri = "{source}"
spread = {{ days = 5, start = 2026-01-05 }}
[source.layout]
kind = "class_folders"
[backbone]
name = "test_resnet"
weights = "none"
[classifier]
size = [32, 32]
epochs = 3
[anomaly]
size = [32, 32]
strides = [8]
bank = 64
[gate]
min_auroc = 0.0
min_groups = 1
[night]
shard_images = 8
[monitor]
min_images = 5
retrain = false
"""


@dataclass(frozen=True)
class Tiny:
    """An installation with a tiny line whose models are trained."""

    env: Env
    home: Home
    line: LineConfig

    def evaluate(self) -> Bundle:
        """The bundle of its dataset.

        The curves of its report are not drawn: that takes longer than all else.
        """
        with patch("ml.evaluation.plots._encode", return_value=""):
            return evaluate(self.env, self.home, self.line, DATASET).bundle


def write_training_line(
    path: Path, source: str, models: tuple[str, ...] = ("classifier", "anomaly")
) -> Path:
    """A line file over the pictures of `write_squares`, a folder or a bucket."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_TRAINING.format(source=source, models=json.dumps(models)))
    return path


def write_squares(folder: Path) -> None:
    """Sixty small pictures of noise in class folders, a third with a bright square."""
    random = np.random.default_rng(1)
    for number in range(60):
        image = random.integers(60, 140, (SIDE, SIDE, 3)).astype(np.uint8)
        defective = number % 3 == 0
        if defective:
            image[8:18, 8:18] = 250
        path = folder / ("dent" if defective else "ok") / f"part{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", image)[1].tobytes())


def make_line(**changes: Any) -> LineConfig:
    """A line with all three models at 32 pixels."""
    size = {"size": SIZE}
    settings = {
        "name": "tiny",
        "title": "Tiny",
        "source": {"uri": "nowhere", "layout": {"kind": "masks"}},
        "backbone": {"weights": "none"},
        "classifier": size,
        "segmenter": size,
        "anomaly": size,
        "night": {"shard_images": 7, "batch": 3},
    }
    return LineConfig.model_validate(settings | changes)


def make_env(folder: Path) -> Env:
    """An installation in `folder` with one thread."""
    return Env.read({"LOUPE_HOME": str(folder), "LOUPE_THREADS": "1"})


def picture(random: np.random.Generator, strength: int) -> np.ndarray[Any, Any]:
    """A grey plate; with `strength` above 0 a square that is so much redder."""
    image = np.repeat(random.integers(90, 150, (SIDE, SIDE, 1)), 3, axis=2).astype(np.int64)
    if strength:
        image[8:16, 8:16, 0] += strength
    return np.clip(image, 0, 255).astype(np.uint8)


def store(home: Home, content: bytes) -> str:
    """Keep bytes as an object and return their SHA-256."""
    name = hashlib.sha256(content).hexdigest()
    files.write_bytes(home.object(name), content)
    return name


def add_images(home: Home, line: str, count: int = 180, defects: bool = True) -> list[Any]:
    """Accepted images of two days, a third with a defect; returns their dataset rows."""
    random = np.random.default_rng(7)
    images, samples = [], []
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[8:16, 8:16] = 255
    for number in range(count):
        defect = defects and number % 3 == 0
        pixels = picture(random, int(random.integers(60, 100)) if defect else 0)
        sha256 = store(home, cv2.imencode(".png", pixels[..., ::-1])[1].tobytes())
        mask_sha = store(home, cv2.imencode(".png", mask)[1].tobytes()) if defect else ""
        part = f"p{number // 2:03d}" if not defects else f"p{number:03d}"
        shared = {
            "sha256": sha256,
            "part": part,
            "lot": f"l{number % 4}",
            "camera": "north",
            "captured_at": datetime(2026, 1, 5 if number < DAY_IMAGES else 4, 6, tzinfo=UTC),
            "day": DAY if number < DAY_IMAGES else "2026-01-04",
            "group": part,
        }
        measures = {key: value for key, value in measure(pixels).items() if key != "phash"}
        images.append(
            {"object": f"{number:03d}.png", "version": "1", "status": "accepted", "reason": "",
             "bytes": 100, "phash": "0" * 16, "batch": "b", **shared, **measures}
        )  # fmt: skip
        samples.append(
            shared
            | {
                "split": ("train", "validation", "test")[number // 3 % 3],
                "label": "defect" if defect else "ok",
                "defect_type": "red" if defect else "",
                "mask": mask_sha,
            }
        )
    catalog.upsert_images(home, line, pa.Table.from_pylist(images, schema=catalog.IMAGES))
    return samples


def write_dataset(home: Home, line: str, samples: list[Any], name: str = DATASET) -> None:
    """A dataset version of these samples."""
    path = home.dataset(line, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(samples), path)
    files.write_json(path.with_suffix(".json"), {"counts": {"images": len(samples)}})


def write_runs(home: Home, line: LineConfig, dataset: str = DATASET, gain: float = 40.0) -> None:
    """Finished runs of the line's models; `gain` below 0 makes them see the wrong way round."""
    for model in line.models:
        folder = home.training(line.name, run_name(line, dataset, model, None))
        folder.mkdir(parents=True)
        onnx.save(ONNX[model](gain), folder / "model.onnx")
        result = {
            "run": folder.name, "model": model, "dataset": dataset, "size": SIZE,
            "classes": ("ok", "red"), "parity": 0.0, "parity_images": 8, "code": "test",
            "backbone": {"name": "none", "weights": "none", "weights_sha256": None},
            "facts": {}, "warnings": ["random start"],
        }  # fmt: skip
        files.write_json(folder / "result.json", result)


def classifier_onnx(gain: float, types: int = 1) -> onnx.ModelProto:
    """Features: redness on an 8 x 8 grid; then global average pooling and one linear layer.

    All redness speaks for the first of the defect types.
    """
    head = np.zeros((1 + types, 2), np.float32)
    head[1, 0] = gain
    nodes = [
        *_redness(),
        helper.make_node("AveragePool", ["red"], ["features"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["embedding"]),
        helper.make_node("Gemm", ["embedding", "head", "bias"], ["logits"], transB=1),
    ]
    outputs = {"logits": ["n", 1 + types], "features": ["n", 2, 8, 8], "embedding": ["n", 2]}
    constants = {"head": head, "bias": np.array([0.0, -0.5, *[-9.0] * (types - 1)], np.float32)}
    return _model(nodes, outputs, constants, 2)


def segmenter_onnx(gain: float, side: int = SIDE) -> onnx.ModelProto:
    """Log-odds of each pixel from its redness."""
    nodes = [
        *_redness(),
        helper.make_node("Mul", ["red", "gain"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "edge"], ["logits"]),
    ]
    constants = {"gain": np.float32([gain]), "edge": np.float32([4.0])}
    return _model(nodes, {"logits": ["n", 1, side, side]}, constants, 1, side)


def anomaly_onnx(gain: float) -> onnx.ModelProto:
    """The largest redness on an 8 x 8 grid."""
    nodes = [
        *_redness(),
        helper.make_node("Mul", ["red", "gain"], ["scaled"]),
        helper.make_node("AveragePool", ["scaled"], ["map"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("GlobalMaxPool", ["map"], ["highest"]),
        helper.make_node("Flatten", ["highest"], ["embedding"]),
        helper.make_node("Squeeze", ["embedding", "axis"], ["score"]),
    ]
    constants = {"gain": np.float32([gain]), "axis": np.array([1], np.int64)}
    outputs = {"score": ["n"], "map": ["n", 1, 8, 8], "embedding": ["n", 1]}
    return _model(nodes, outputs, constants, 1)


ONNX = {"classifier": classifier_onnx, "segmenter": segmenter_onnx, "anomaly": anomaly_onnx}


def _redness() -> list[onnx.NodeProto]:
    return [helper.make_node("Conv", ["image", "mix"], ["red"])]


def _model(
    nodes: list[onnx.NodeProto],
    outputs: dict[str, list[Any]],
    constants: dict[str, np.ndarray[Any, Any]],
    channels: int,
    side: int = SIDE,
) -> onnx.ModelProto:
    mix = np.zeros((channels, 3, 1, 1), np.float32)
    mix[0, :, 0, 0] = np.array([1, -1, 0]) / 255
    if channels == 2:
        mix[1, :, 0, 0] = np.array([0, 0, 1]) / 255
    weights = {"mix": mix, **constants}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, side, side])],
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
