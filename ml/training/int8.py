"""Is a quantised model worth shipping? Measure its size, its quality and its speed; decide once.

Calibration and the choice of layers look at training images, the decision at validation, and
nothing at test. What was found lies beside the run, so that a repeated step decides the same.
"""

import platform
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ml import files
from ml.data.dataset import Dataset, Sample
from ml.inference.engine import Floats, open_session
from ml.inference.masks import Flags
from ml.settings import Env, Home, LineConfig
from ml.settings.models import ModelName
from ml.training.export import MAX_PARITY, named_outputs, raw_scores
from ml.training.mixed import Candidate, LayerSearch
from ml.training.packing import packed
from ml.training.pixels import load_pixels, to_tensor
from ml.training.quantise import activation_ranges, layers, prepared
from ml.training.run import INT8, INT8_ONNX, Run
from ml.training.sampling import is_defect
from ml.training.segmenter import measurable
from ml.training.tiles import load_inputs, load_one_each
from ml.training.validation import metrics_of, validation_scores

# Points of validation AUROC (a segmenter's Dice also) that int8 may lose.
MAX_LOSS = 0.2
# A gain in speed below it is noise.
_MIN_SPEED = 1.05

_CALIBRATION_IMAGES = 64
# Of these, the images on which layers and methods are compared.
_COMPARED = 16
_CHECKED = 8
_TIMED_ROUNDS = 41
_JUDGED = ("auroc", "dice")
# Better than this AUROC cannot show what noise costs: nobody's parts are told apart that well.
_EASY = 0.99

Scores = npt.NDArray[np.float64]
Metrics = dict[str, float | None]
# Fields of the card; times.
Figures = dict[str, Any]


class OnnxNetwork(nn.Module):
    """An ONNX file where a network is expected."""

    def __init__(self, path: Path, threads: int) -> None:
        super().__init__()
        self._session = open_session(path, threads)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The outputs of the file for images `[N, 3, H, W]`, 0-255."""
        batch = images.cpu().contiguous().numpy()
        found = self._session.run(None, {"image": batch})
        return tuple(torch.from_numpy(output) for output in found)


def decide_int8(env: Env, home: Home, line: LineConfig, data: Dataset, run: Run) -> Figures:
    """Whether int8 is shipped instead of a finished run's fp32 model; found again when decided.

    Returns `card`, the fields of `ml.bundle.card.Int8Card`, and `speed`: median milliseconds of
    one image in fp32 and int8, by turns on this machine, or null where nothing was measured.
    Writes `model.int8.onnx` where it is shipped, then `int8-2.json`.
    """
    path = run.folder / INT8
    if not path.exists():
        with tempfile.TemporaryDirectory() as folder:
            found, content = _Trial(env, home, line, data, run, Path(folder)).decide()
        if content is not None:
            files.write_bytes(run.folder / INT8_ONNX, content)
        files.write_json(path, found)
    decided: Figures = files.read_json(path)
    return decided


def loss_in_points(fp32: Metrics, int8: Metrics) -> float | None:
    """The largest loss of a judged metric, in points of a hundred; None where none is known."""
    pairs = [(fp32.get(name), int8.get(name)) for name in _JUDGED]
    lost = [100 * (a - b) for a, b in pairs if a is not None and b is not None]
    return max(lost, default=None)


def points_of_noise(fp32: Scores, int8: Scores, defect: Flags, auroc: float) -> float:
    """Points of AUROC that raw scores `[N]` lose where int8 is fp32 and noise, as far as it tells.

    Noise lowers d', the distance of good and defective scores in units of their spread, by the
    correlation of the scores with and without it within a kind (attenuation, Spearman 1904), and
    of normal distributions AUROC is the normal cdf of d' / sqrt(2). AUROC itself sees little of it
    on few groups: an int8 model had 0.913 instead of 0.912 on validation and 0.69 instead of 0.95
    on test, with a correlation of 0.8.
    """
    fp32, int8 = fp32.copy(), int8.copy()
    for kind in (defect, ~defect):
        fp32[kind] -= fp32[kind].mean()
        int8[kind] -= int8[kind].mean()
    spread = np.sqrt((fp32**2).sum() * (int8**2).sum())
    same = max(0.0, float((fp32 * int8).sum() / spread)) if spread else 0.0
    before, normal = min(max(auroc, 0.5), _EASY), NormalDist()
    return 100 * (before - normal.cdf(normal.inv_cdf(before) * same))


def why_not(card: Figures, speed: Figures) -> str:
    """Why fp32 is shipped, or nothing. Times stay out: they are in no bundle."""
    if card["size_ratio"] <= 1:
        return "int8 is no smaller"
    if card["loss_points"] > MAX_LOSS:
        points = f"int8 loses {card['loss_points']:.2f} points on validation"
        return f"{points}, or its noise should cost them, above {MAX_LOSS:g}"
    if card["batch_difference"] > MAX_PARITY:
        return "int8 scores of a batch differ from those of single images"
    if speed["fp32_ms"] < _MIN_SPEED * speed["int8_ms"]:
        return "int8 was not faster on the machine that trained it"
    return ""


def paired_ms(first: Path, second: Path, image: Floats, threads: int) -> tuple[float, float]:
    """Median milliseconds of one image `[1, 3, H, W]` in each of two models, run by turns."""
    sessions = [open_session(path, threads) for path in (first, second)]
    spent: list[list[float]] = [[], []]
    for number in range(_TIMED_ROUNDS + 1):
        for session, times in zip(sessions, spent, strict=True):
            started = time.perf_counter()
            session.run(None, {"image": image})
            if number:  # the first call also plans the memory
                times.append(time.perf_counter() - started)
    one, other = (round(float(np.median(times)) * 1000, 2) for times in spent)
    return one, other


def calibration_samples(data: Dataset, seed: int) -> list[Sample]:
    """Some training images, half of them defects where there are as many."""
    train = data.split("train")
    order = np.random.default_rng(seed).permutation(len(train))
    defects = [int(index) for index in order if train[index].is_defect]
    good = [int(index) for index in order if not train[index].is_defect]
    half = _CALIBRATION_IMAGES // 2
    chosen = [*defects[:half], *good][:_CALIBRATION_IMAGES]
    return [train[index] for index in sorted(chosen)]


class _Trial:
    """One attempt; its parts share the images and the prepared model."""

    def __init__(
        self, env: Env, home: Home, line: LineConfig, data: Dataset, run: Run, folder: Path
    ) -> None:
        self._run, self._threads, self._path = run, env.threads, folder / "int8.onnx"
        self._model: ModelName = run.result["model"]
        some = calibration_samples(data, line.seed)
        if self._model == "segmenter":
            held = measurable(line, data).split("validation")
            self._validation = load_inputs(home, held, line.segmenter, env.threads)
            pixels = load_one_each(home, some, line.segmenter, env.threads)
        else:
            size = getattr(line, self._model).size
            self._validation, pixels = (
                load_pixels(home, one, size, masks=False, threads=env.threads)
                for one in (data.split("validation"), some)
            )
        self._images: Floats = to_tensor(pixels.images).contiguous().numpy()
        # Defects and good images by turns of the same stride.
        self._compared = self._images[:: max(1, len(some) // _COMPARED)]
        self._graph = prepared(run.onnx)
        self._layers = layers(self._graph)
        self._fp32 = self._measure(run.onnx)

    def decide(self) -> tuple[Figures, bytes | None]:
        """What is written down, and the quantised model where it is shipped."""
        fp32, _ = self._fp32
        if loss_in_points(fp32, fp32) is None or not self._layers:
            lacks = "no convolutions" if not self._layers else "too few kinds of validation images"
            return {"card": {"shipped": False, "reason": lacks}, "speed": None}, None
        best = self._best()
        self._path.write_bytes(best.content)
        card, speed = self._figures(best), self._speed()
        reason = why_not(card, speed)
        card |= {"shipped": not reason, "reason": reason}
        return {"card": card, "speed": speed}, None if reason else best.content

    def _best(self) -> Candidate:
        ranges = activation_ranges(self._graph, self._images, self._threads)
        expected = self._scores(self._run.onnx, self._compared)

        def harm(path: Path) -> float:
            return float(np.abs(self._scores(path, self._compared) - expected).mean())

        best = LayerSearch(self._graph, ranges, self._path, harm, self._loss).best(MAX_LOSS)
        smaller = packed(best.content)
        self._path.write_bytes(smaller)
        lost = self._loss(self._path)
        good_enough = lost <= max(best.loss, MAX_LOSS)
        return replace(best, content=smaller, loss=lost) if good_enough else best

    def _loss(self, path: Path) -> float:
        """Points that a model file loses on validation, by its figures or by its scores."""
        fp32, expected = self._fp32
        int8, scores = self._measure(path)
        points, auroc = loss_in_points(fp32, int8), fp32["auroc"]
        if points is None or auroc is None:
            return np.inf if points is None else points
        noise = points_of_noise(expected, scores, is_defect(self._validation), auroc)
        return max(points, noise)

    def _figures(self, best: Candidate) -> Figures:
        images = to_tensor(self._validation.images[:_CHECKED]).contiguous().numpy()
        together = self._scores(self._path, images)
        single = np.concatenate([self._scores(self._path, one[None]) for one in images])
        return {
            "calibration": best.method,
            "calibration_images": len(self._images),
            "layers": len(self._layers),
            "fp32_layers": len(best.kept),
            "size_ratio": round(self._run.onnx.stat().st_size / len(best.content), 2),
            "loss_points": round(best.loss, 3),
            "fp32": _rounded(self._fp32[0]),
            "int8": _rounded(self._measure(self._path)[0]),
            "score_difference": _few_digits(
                np.abs(together - self._scores(self._run.onnx, images)).max()
            ),
            "batch_difference": _few_digits(np.abs(together - single).max()),
        }

    def _speed(self) -> Figures:
        image = self._images[:1]
        fp32, int8 = paired_ms(self._run.onnx, self._path, image, self._threads)
        return {
            "fp32_ms": fp32,
            "int8_ms": int8,
            "machine": platform.node(),
            "threads": self._threads,
        }

    def _measure(self, path: Path) -> tuple[Metrics, Scores]:
        network = OnnxNetwork(path, self._threads)
        scores, dice = validation_scores(self._model, network, self._validation)
        return metrics_of(self._validation, scores, dice), scores

    def _scores(self, path: Path, images: Floats) -> Scores:
        network = OnnxNetwork(path, self._threads)
        return raw_scores(
            self._model, named_outputs(self._model, network, torch.from_numpy(images))
        )


def _rounded(metrics: Metrics) -> Metrics:
    return {name: None if value is None else round(value, 4) for name, value in metrics.items()}


def _few_digits(value: float) -> float:
    return float(f"{value:.2g}")
