"""The `train` step: fit, export, prove parity, record; reuse what is finished."""

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from ml import files
from ml.data.dataset import Dataset, load_dataset
from ml.settings import Env, Home, LineConfig
from ml.settings.line import ModelName
from ml.training.anomaly import fit_anomaly
from ml.training.enough import class_names, require_good, require_model
from ml.training.export import OUTPUTS, check_parity, export_onnx
from ml.training.fit import fit_classifier, fit_segmenter, with_masks
from ml.training.loop import Fitted
from ml.training.pixels import load_pixels, to_tensor
from ml.training.run import (
    CHECKPOINT,
    ONNX,
    RESULT,
    WEIGHTS,
    Run,
    read_run,
    run_name,
    weights_sha256,
)
from ml.training.student import fit_student
from ml.training.tracking import track_run
from ml.training.validation import validation_metrics

RANDOM_START = (
    "The backbone started from random numbers, not from pretrained weights: "
    "do not trust this bundle on a real line."
)

_PARITY_IMAGES = 8

_FITS: dict[ModelName, Callable[..., tuple[nn.Module, Fitted]]] = {
    "classifier": fit_classifier,
    "segmenter": fit_segmenter,
    "anomaly": fit_student,
}


@dataclass(frozen=True)
class Trained:
    """A finished run, and whether this call found it finished or half-done."""

    run: Run
    mlflow_run: str
    seconds: float
    resumed: bool
    skipped: bool


def train(env: Env, home: Home, line: LineConfig, dataset: str, model: ModelName) -> Trained:
    """Train one model of a line on a dataset version; a finished run is returned as it is.

    Raises TrainingError when the data cannot train this model or its ONNX differs.
    """
    require_model(line, model)
    data = load_dataset(home, line.name, dataset)
    name = run_name(line, dataset, model, weights_sha256(line.backbone_of(model)))
    finished = read_run(home, line.name, name)
    if finished is not None:
        (finished.folder / CHECKPOINT).unlink(missing_ok=True)
        return Trained(finished, track_run(env, line, finished), 0.0, False, True)
    started = time.monotonic()
    torch.set_num_threads(env.threads)
    folder = home.training(line.name, name)
    network, facts = _fit(home, line, data, model, folder, env.threads)
    resumed = bool(facts.pop("resumed", False))
    facts["metrics"] = _measure(home, line, data, model, network, env.threads)
    result = facts | _export(home, line, data, model, network, folder, env.threads)
    result["warnings"] = _warnings(line, model, result["facts"])
    result |= {"run": name, "dataset": dataset, "model": model, "code": code_commit()}
    files.write_bytes(folder / WEIGHTS, save(_tensors(network)))
    # Last: a folder with a result is finished.
    files.write_json(folder / RESULT, result)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    run = Run(name, folder, files.read_json(folder / RESULT))
    seconds = time.monotonic() - started
    return Trained(run, track_run(env, line, run), round(seconds, 1), resumed, False)


def code_commit() -> str:
    """The git commit of this code, or `unknown` where there is no repository."""
    try:
        process = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return process.stdout.strip()


def _fit(
    home: Home, line: LineConfig, data: Dataset, model: ModelName, folder: Path, threads: int
) -> tuple[nn.Module, dict[str, Any]]:
    studies = model == "anomaly" and line.anomaly.method == "student_teacher"
    if model == "anomaly" and not studies:
        network, facts = fit_anomaly(home, line, data, threads)
        return network, {
            "epochs": 0,
            "best_epoch": None,
            "loss": None,
            "losses": [],
            "facts": facts,
        }
    fit = _FITS[model]
    trained, fitted = fit(home, line, data, folder / CHECKPOINT, threads)
    facts = {"batch": fitted.batch}
    if studies:
        facts["good_images"] = len(require_good(line, data))
    return trained, {
        "epochs": len(fitted.losses) - 1,
        "best_epoch": fitted.best_epoch,
        "loss": fitted.best_loss,
        "losses": fitted.losses,
        "resumed": fitted.resumed,
        "facts": facts,
    }


def _measure(
    home: Home, line: LineConfig, data: Dataset, model: ModelName, network: nn.Module, threads: int
) -> dict[str, float | None]:
    segments = model == "segmenter"
    samples = (with_masks(data) if segments else data).split("validation")
    size = getattr(line, model).size
    pixels = load_pixels(home, samples, size, masks=segments, threads=threads)
    return validation_metrics(model, network, pixels)


def _export(
    home: Home,
    line: LineConfig,
    data: Dataset,
    model: ModelName,
    network: nn.Module,
    folder: Path,
    threads: int,
) -> dict[str, Any]:
    size = getattr(line, model).size
    export_onnx(network, OUTPUTS[model], size, folder / ONNX)
    some = (data.split("validation") or data.split("train"))[:_PARITY_IMAGES]
    pixels = load_pixels(home, some, size, masks=False, threads=threads)
    parity = check_parity(model, network, folder / ONNX, to_tensor(pixels.images))
    backbone = line.backbone_of(model)
    return {
        "classes": class_names(data.split("train")),
        "size": size,
        "parity": parity,
        "parity_images": len(some),
        "seed": line.seed,
        "backbone": {
            "name": backbone.name,
            "weights": backbone.weights if backbone.weights in ("hub", "none") else "file",
            "weights_sha256": weights_sha256(backbone),
        },
    }


def _warnings(line: LineConfig, model: ModelName, facts: dict[str, int]) -> list[str]:
    found = [RANDOM_START] if line.backbone_of(model).weights == "none" else []
    asked = getattr(line, model).batch
    if facts.get("batch", asked) < asked:
        found.append(
            f"The {model} was trained with batches of {facts['batch']} instead of {asked}: "
            "more did not fit into the memory."
        )
    return found


def _tensors(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
