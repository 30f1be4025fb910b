"""The `train` step: fit, export, prove parity, record; reuse what is finished."""

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from ml import files
from ml.data.dataset import Dataset, load_dataset
from ml.models.backbones import create_backbone
from ml.settings import Env, Home, LineConfig
from ml.settings.models import BackboneConfig, ModelName
from ml.training.anomaly import fit_anomaly
from ml.training.classifier import fit_classifier
from ml.training.enough import class_names, require_good, require_model
from ml.training.export import OUTPUTS, check_parity, export_onnx
from ml.training.int8 import decide_int8
from ml.training.loop import Fitted
from ml.training.patch_segmenter import fit_patch_segmenter
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
from ml.training.segmenter import fit_segmenter, measurable, without_masks
from ml.training.student import fit_student
from ml.training.tiles import load_inputs
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
    started = time.monotonic()
    if finished is not None:
        (finished.folder / CHECKPOINT).unlink(missing_ok=True)
        run = _quantised(env, home, line, data, finished)
        return Trained(run, track_run(env, line, run), 0.0, False, True)
    torch.set_num_threads(env.threads)
    folder = home.training(line.name, name)
    network, facts = _fit(home, line, data, model, folder, env.threads)
    resumed = bool(facts.pop("resumed", False))
    facts["metrics"] = _measure(home, line, data, model, network, env.threads)
    result = facts | _export(home, line, data, model, network, folder, env.threads)
    if model == "segmenter" and line.segmenter.weak_labels:
        result["facts"]["unmasked_defects"] = len(without_masks(data.split("train")))
    # Sums in another order are rounded otherwise, and training makes other weights of that.
    result["facts"]["threads"] = env.threads
    result["warnings"] = _warnings(line, model, result["facts"])
    result |= {"run": name, "dataset": dataset, "model": model, "code": code_commit()}
    weights = save(_tensors(network))
    result["weights_sha256"] = sha256(weights).hexdigest()
    files.write_bytes(folder / WEIGHTS, weights)
    # Last: a folder with a result is finished.
    files.write_json(folder / RESULT, result)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    run = _quantised(env, home, line, data, Run(name, folder, files.read_json(folder / RESULT)))
    seconds = time.monotonic() - started
    return Trained(run, track_run(env, line, run), round(seconds, 1), resumed, False)


def assist(env: Env, home: Home, line: LineConfig, dataset: str, model: ModelName) -> None:
    """What the other processes of `torchrun` do while the first one runs `train`.

    They take their shares of the steps and write nothing.
    """
    require_model(line, model)
    name = run_name(line, dataset, model, weights_sha256(line.backbone_of(model)))
    if read_run(home, line.name, name) is not None or not _by_gradient(line, model):
        return
    torch.set_num_threads(env.threads)
    data = load_dataset(home, line.name, dataset)
    _fit(home, line, data, model, home.training(line.name, name), env.threads)


def _quantised(env: Env, home: Home, line: LineConfig, data: Dataset, run: Run) -> Run:
    """The run with the decision about int8, where the line asks for one."""
    if line.export.int8 == "never":
        return run
    return replace(run, int8=decide_int8(env, home, line, data, run))


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


def input_size(line: LineConfig, model: ModelName) -> tuple[int, int]:
    """Height and width of what a network of the line sees at once."""
    return line.segmenter.input_size if model == "segmenter" else getattr(line, model).size


def _fit(
    home: Home, line: LineConfig, data: Dataset, model: ModelName, folder: Path, threads: int
) -> tuple[nn.Module, dict[str, Any]]:
    if not _by_gradient(line, model):
        fit_patches = fit_anomaly if model == "anomaly" else fit_patch_segmenter
        network, facts = fit_patches(home, line, data, threads)
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
    if model == "anomaly":
        facts["good_images"] = len(require_good(line, data))
    return trained, {
        "epochs": len(fitted.losses) - 1,
        "best_epoch": fitted.best_epoch,
        "loss": fitted.best_loss,
        "losses": fitted.losses,
        "resumed": fitted.resumed,
        "facts": facts,
    }


def _by_gradient(line: LineConfig, model: ModelName) -> bool:
    """Whether the training loop fits the model, in as many processes as there are."""
    methods = {"segmenter": line.segmenter.method, "anomaly": line.anomaly.method}
    return methods.get(model) not in ("patches", "patchcore", "discriminator")


def _measure(
    home: Home, line: LineConfig, data: Dataset, model: ModelName, network: nn.Module, threads: int
) -> dict[str, float | None]:
    segments = model == "segmenter"
    samples = (measurable(line, data) if segments else data).split("validation")
    if segments:
        pixels = load_inputs(home, samples, line.segmenter, threads)
    else:
        pixels = load_pixels(home, samples, input_size(line, model), masks=False, threads=threads)
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
    size = input_size(line, model)
    export_onnx(network, OUTPUTS[model], size, folder / ONNX)
    some = (data.split("validation") or data.split("train"))[:_PARITY_IMAGES]
    pixels = load_pixels(home, some, size, masks=False, threads=threads)
    parity = check_parity(model, network, folder / ONNX, to_tensor(pixels.images))
    backbone = line.backbone_of(model)
    return {
        "classes": class_names(data.split("train")),
        "size": size,
        "tiled": model == "segmenter" and line.segmenter.tile is not None,
        "parity": parity,
        "parity_images": len(some),
        "seed": line.seed,
        "backbone": {
            "name": backbone.name,
            "weights": backbone.weights if backbone.weights in ("hub", "none") else "file",
            "weights_sha256": _start_sha256(backbone),
        },
    }


def _start_sha256(backbone: BackboneConfig) -> str | None:
    """Of the weights file; of the tensors as safetensors where they came from the hub."""
    if backbone.weights == "hub":
        return sha256(save(_tensors(create_backbone(backbone, seed=0)))).hexdigest()
    return weights_sha256(backbone)


def _warnings(line: LineConfig, model: ModelName, facts: dict[str, int]) -> list[str]:
    found = [RANDOM_START] if line.backbone_of(model).weights == "none" else []
    asked = getattr(line, model).batch
    if facts.get("batch", asked) < asked:
        found.append(
            f"The {model} was trained with batches of {facts['batch']} instead of {asked}: "
            "more did not fit into the memory."
        )
    if unmasked := facts.get("unmasked_defects"):
        found.append(
            f"The segmenter learned from weak masks: thresholding outlined {unmasked} training "
            "defects, less those in which it found nothing. No figure counts them as truth."
        )
    return found


def _tensors(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
