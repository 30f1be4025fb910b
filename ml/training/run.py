"""A training run: one model on one dataset version, named by all that determines it.

A run's folder holds `checkpoint.safetensors` while it trains and, when it is finished,
`model.onnx`, `model.safetensors` and `result.json` with these keys. Where the line asks for int8,
`int8-2.json` says what came of it (`int8.py`), and `model.int8.onnx` is the model that is shipped.

| key | value |
| --- | --- |
| `run`, `model`, `dataset`, `seed`, `code` | what was trained, by which commit |
| `classes` | `ok`, then the defect types of the training images |
| `size` | height, width of the input |
| `epochs`, `best_epoch`, `loss`, `losses` | on validation; epoch 0 is the start, or its probe |
| `metrics` | on validation, of the raw scores: `auroc`, `ap`; segmenter: `dice`; null if unknown |
| `parity`, `parity_images` | largest raw score difference of torch and ONNX Runtime, on how many |
| `backbone` | `name`, `weights` (`hub`, `file`, `none`), `weights_sha256`: the card's fields |
| `weights_sha256` | of `model.safetensors` |
| `warnings` | sentences that belong on the card |
| `facts` | `batch`, `threads`; anomaly model: how many images and patches it was fitted on |
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ml import files
from ml.errors import TrainingError
from ml.settings import Home, LineConfig
from ml.settings.models import BackboneConfig, ModelName

# Changes when the code would give other weights for the same run.
_RECIPE: dict[ModelName, int] = {"classifier": 7, "segmenter": 7, "anomaly": 8}

# The number of what is found about int8 changes with the rule that decides: it is found anew then.
ONNX, INT8_ONNX, INT8, WEIGHTS, RESULT, CHECKPOINT = (
    "model.onnx",
    "model.int8.onnx",
    "int8-2.json",
    "model.safetensors",
    "result.json",
    "checkpoint.safetensors",
)


@dataclass(frozen=True)
class Run:
    """A finished run; `int8` is what was found about int8, None where the line does not ask."""

    name: str
    folder: Path
    result: dict[str, Any]
    int8: dict[str, Any] | None = None

    @property
    def onnx(self) -> Path:
        """The model as it was trained, in fp32."""
        return self.folder / ONNX

    @property
    def deployed(self) -> Path:
        """The model that goes into bundles."""
        shipped = self.int8 is not None and self.int8["card"]["shipped"]
        return self.folder / INT8_ONNX if shipped else self.onnx


def run_name(line: LineConfig, dataset: str, model: ModelName, weights_sha256: str | None) -> str:
    """Equal inputs have equal names: dataset, backbone and its weights, settings, seed, recipe."""
    used = line.backbone_of(model)
    backbone = used.model_dump(mode="json") | {"weights": weights_sha256}
    if used.weights in ("hub", "none"):
        backbone["weights"] = used.weights
    settings = getattr(line, model).model_dump(mode="json", exclude={"backbone"})
    key = [_RECIPE[model], line.name, dataset, model, backbone, settings, line.seed]
    return f"{model}-{files.content_key(key)}"


def weights_sha256(backbone: BackboneConfig) -> str | None:
    """SHA-256 of the weights file; None where there is no file.

    Raises TrainingError when the file is not there.
    """
    if backbone.weights in ("hub", "none"):
        return None
    path = Path(backbone.weights)
    if not path.exists():
        msg = (
            f"backbone weights {path} do not exist; correct `backbone.weights`, "
            'or say "none" for a random start'
        )
        raise TrainingError(msg)
    return files.sha256(path)


def read_run(home: Home, line: str, name: str) -> Run | None:
    """The finished run of that name, or None."""
    folder = home.training(line, name)
    if not (folder / RESULT).exists():
        return None
    return Run(name, folder, files.read_json(folder / RESULT))


def finished_runs(home: Home, line: LineConfig, dataset: str) -> dict[str, Run]:
    """The finished run of each model of the line on a dataset.

    Raises TrainingError naming the models that are not trained yet.
    """
    found: dict[ModelName, Run | None] = {}
    for model in line.models:
        digest = weights_sha256(line.backbone_of(model))
        run = read_run(home, line.name, run_name(line, dataset, model, digest))
        found[model] = _decided(line, run)
    if missing := [model for model, run in found.items() if run is None]:
        msg = (
            f"line {line.name}, dataset {dataset}: not trained yet: {', '.join(missing)}; "
            f"run `loupe train --line {line.name} --dataset {dataset} --model {missing[0]}`"
        )
        raise TrainingError(msg)
    return {model: run for model, run in found.items() if run is not None}


def _decided(line: LineConfig, run: Run | None) -> Run | None:
    """The run with what was found about int8; None where the line asks and nobody looked yet."""
    if run is None or line.export.int8 == "never":
        return run
    path = run.folder / INT8
    return replace(run, int8=files.read_json(path)) if path.exists() else None
