"""Lines for the benches of the night: generated JPEGs and models with random weights.

Their time is that of trained ones. They are exported as `loupe train` does it, and sealed by the
product's own evaluation.
"""

import hashlib
from datetime import UTC, datetime
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from anomaly import PROJECT

from ml import files
from ml.bundle.live import live_name
from ml.data import catalog
from ml.data.measure import measure
from ml.evaluation.evaluate import evaluate
from ml.models.classifier import Classifier
from ml.models.patchcore import PatchCore
from ml.models.patches import PatchFeatures
from ml.models.segmenter import Segmenter
from ml.settings import Env, Home, LineConfig
from ml.training.export import OUTPUTS, export_onnx
from ml.training.run import run_name

ROOT = PROJECT / ".loupe-bench" / "night"
# Pixels of the generated JPEGs: a small industrial camera.
HEIGHT, WIDTH = 480, 640
LABELLED = 120
DATASET = "generated"
LABELLED_DAY = "2025-12-31"


# Backbone, input side and models of each line: models of a usual size, the anomaly model alone,
# and models so small that decoding is what takes time.
LINES: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "usual": ("mobilenetv2_100", 224, ("classifier", "segmenter", "anomaly")),
    "anomaly": ("mobilenetv2_100", 224, ("anomaly",)),
    "light": ("test_resnet", 32, ("classifier", "segmenter", "anomaly")),
}


def make_line(name: str) -> LineConfig:
    """One of the lines of the benches."""
    backbone, side, models = LINES[name]
    size = {"size": (side, side)}
    settings = {
        "name": name,
        "title": "Generated parts",
        "models": models,
        "source": {"uri": "generated", "layout": {"kind": "masks"}},
        "backbone": {"name": backbone, "weights": "none"},
        "classifier": size,
        "segmenter": size,
        "anomaly": size | {"strides": (8, 16) if side > 32 else (8,)},
    }
    return LineConfig.model_validate(settings)


def make_networks(line: LineConfig) -> dict[str, torch.nn.Module]:
    """The line's models in torch; the anomaly model's bank is random."""
    features = PatchFeatures(line.backbone, line.anomaly, line.seed)
    generator = torch.Generator().manual_seed(1)
    bank = torch.randn(line.anomaly.bank, features.width, generator=generator)
    networks = {
        "classifier": Classifier(line.backbone, 2, line.seed),
        "segmenter": Segmenter(line.backbone, line.segmenter.decoder, line.seed),
        "anomaly": PatchCore(features, bank, line.anomaly.top_share),
    }
    return {name: networks[name].eval() for name in line.models}


def make_home(line: LineConfig) -> Home:
    """An installation with a champion; made once."""
    home = Home(ROOT / line.name)
    if live_name(home, line.name):
        return home
    samples = add_images(home, line, LABELLED_DAY, LABELLED, labelled=True)
    path = home.dataset(line.name, DATASET)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(samples), path)
    files.write_json(path.with_suffix(".json"), {"counts": {"images": len(samples)}})
    for model, network in make_networks(line).items():
        folder = home.training(line.name, run_name(line, DATASET, model, None))
        size = getattr(line, model).size
        export_onnx(network, OUTPUTS[model], size, folder / "model.onnx")
        result = {
            "run": folder.name, "model": model, "dataset": DATASET, "size": size,
            "classes": ("ok", "defect"), "parity": 0.0, "parity_images": 0, "code": "bench",
            "backbone": {"name": line.backbone.name, "weights": "none", "weights_sha256": None},
            "facts": {}, "warnings": ["random weights"],
        }  # fmt: skip
        files.write_json(folder / "result.json", result)
    env = Env.read({"LOUPE_HOME": str(home.root)})
    bundle = evaluate(env, home, line, DATASET).bundle
    record = {"line": line.name, "bundle": bundle.name, "previous": None, "number": 1}
    files.write_json(home.live(line.name), record)
    return home


def add_images(
    home: Home,
    line: LineConfig,
    day: str,
    count: int,
    *,
    labelled: bool = False,
    size: tuple[int, int] = (HEIGHT, WIDTH),
) -> list[dict[str, Any]]:
    """Generate accepted JPEGs of a day; returns their dataset rows."""
    height, width = size
    random = np.random.default_rng(int(day.replace("-", "")))
    noise = random.integers(0, 40, (height * 2, width * 2, 3), dtype=np.uint8)
    slope = np.linspace(60, 160, width, dtype=np.uint8)[None, :, None]
    # All look alike, and nothing here reads the measures.
    measures = measure(slope + noise[:height, :width]) | {"phash": "0" * 16}
    rows, samples = [], []
    mask = np.zeros((height, width), np.uint8)
    mask[200:260, 300:380] = 255
    mask_name = store(home, cv2.imencode(".png", mask)[1].tobytes())
    for number in range(count):
        top, left = random.integers(0, height), random.integers(0, width)
        image = slope + noise[top : top + height, left : left + width]
        defect = labelled and number % 3 == 0
        if defect:
            image[mask > 0] //= 2
        name = store(home, cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
        part = f"p{number:07d}"
        shared = {
            "sha256": name, "part": part, "lot": f"l{number // 100}", "camera": "north",
            "captured_at": datetime.fromisoformat(day).replace(tzinfo=UTC), "day": day,
            "group": part,
        }  # fmt: skip
        rows.append(
            {"object": f"{day}/{part}.jpg", "version": "1", "status": "accepted", "reason": "",
             "bytes": home.object(name).stat().st_size, "batch": day,
             **shared, **measures}
        )  # fmt: skip
        kinds = {"label": "defect", "defect_type": "dark", "mask": mask_name}
        good = {"label": "ok", "defect_type": "", "mask": ""}
        split = ("train", "validation", "test")[number // 3 % 3]
        samples.append(shared | {"split": split, **(kinds if defect else good)})
    catalog.upsert_images(home, line.name, pa.Table.from_pylist(rows, schema=catalog.IMAGES))
    return samples


def store(home: Home, content: bytes) -> str:
    """Keep bytes as an object, without waiting for the disk, and return their SHA-256."""
    name = hashlib.sha256(content).hexdigest()
    path = home.object(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return name
