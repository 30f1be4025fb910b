"""Int8 against fp32 through ONNX Runtime: what the export step finds on real lines.

    python bench/int8.py [line ...]

Trains the models of each line for one epoch, as `loupe train` does with `int8 = "auto"`. Needs the
images and weights that the line files name. A row for each model goes into RESULTS.md.
"""

import json
import sys
from pathlib import Path

import numpy as np
from anomaly import PROJECT, loupe
from result_tables import put

from ml.data.dataset import Dataset, load_dataset
from ml.evaluation import metrics
from ml.evaluation.intervals import bootstrap_weights
from ml.evaluation.scores import TestScores, score
from ml.inference.engine import ModelSet
from ml.settings import Env, Home, LineConfig, load_line
from ml.settings.models import ExportConfig
from ml.training.run import Run
from ml.training.train import train

ROOT = PROJECT / ".loupe-bench" / "int8"
LINES = ("casting", "magnetic_tile")
MODELS = ("classifier", "anomaly")


def prepare(name: str) -> tuple[Env, Home, LineConfig, Dataset]:
    """The line ingested and split, with one epoch and int8 tried."""
    line = load_line(PROJECT / "lines" / f"{name}.toml")
    env = Env.read({"LOUPE_HOME": str(ROOT / name), "LOUPE_THREADS": "1"})
    home = Home.of(env)
    record = home.root / "dataset.json"
    if not record.exists():
        batch = loupe(home, "ingest", "--line", name)["batch"]
        loupe(home, "validate", "--line", name, "--batch", batch)
        record.write_text(json.dumps(loupe(home, "snapshot", "--line", name)))
    short = line.classifier.model_copy(update={"epochs": 1})
    line = line.model_copy(update={"classifier": short, "export": ExportConfig(int8="auto")})
    return env, home, line, load_dataset(home, name, json.loads(record.read_text())["dataset"])


def test_auroc(home: Home, data: Dataset, run: Run, path: Path, seed: int) -> str:
    """AUROC of a model file on held-out groups with its 95 % interval."""
    model = run.result["model"]
    models = ModelSet({model: path}, {model: run.result["size"]}, 1)
    found = score(TestScores, home, models, data.split("test"), 1)
    weights = bootstrap_weights(found.groups, seed)
    values = metrics.auroc(found.raw[model], found.is_defect, weights)
    low, high = np.nanpercentile(values[1:], [2.5, 97.5])
    return f"{values[0]:.4f} ({low:.3f}–{high:.3f})"


def row(env: Env, home: Home, line: LineConfig, data: Dataset, model: str) -> str:
    """The table row of one model."""
    run = train(env, home, line, data.name, model).run
    card, speed = run.int8["card"], run.int8["speed"]
    on_test = [test_auroc(home, data, run, run.onnx, line.seed)]
    if card["shipped"]:
        on_test.append(test_auroc(home, data, run, run.deployed, line.seed))
    cells = [
        line.name,
        model,
        f"{card['size_ratio']:.2f}",
        f"{card['fp32']['auroc']:.4f} → {card['int8']['auroc']:.4f}",
        " → ".join(on_test),
        f"{speed['fp32_ms']:.1f} → {speed['int8_ms']:.1f}",
        f"{speed['fp32_ms'] / speed['int8_ms']:.2f}",
        card["calibration"],
        f"{card['fp32_layers']} of {card['layers']}",
        "int8" if card["shipped"] else f"fp32: {card['reason']}",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Measure the lines that were asked for."""
    for name in sys.argv[1:] or LINES:
        env, home, line, data = prepare(name)
        for model in MODELS:
            put("int8", row(env, home, line, data, model), key=2)


if __name__ == "__main__":
    main()
