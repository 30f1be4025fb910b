"""Training steps of the classifier against a plain PyTorch loop on the same loader and model.

    python bench/training_throughput.py [line]

Needs the images and weights of the line (casting). The plain loop leaves memory layout and
optimiser at PyTorch's defaults. The contenders take turns of a few steps, so that other work on
the machine slows all of them; processor seconds of the median turn count, in one thread. The table
goes into RESULTS.md.
"""

import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from classification import loaded, prepare
from result_tables import put
from torch.nn import functional

from ml.models.classifier import Classifier
from ml.settings import LineConfig
from ml.training.classifier import classifier_batches
from ml.training.device import placed
from ml.training.loop import Task, fit
from ml.training.pixels import Pixels

TURNS, STEPS = 3, 5


def ours(line: LineConfig, pixels: Pixels, target: torch.Tensor, stride: int) -> Callable[[], None]:
    """The product's loop, with layers up to `stride` held."""
    config = line.classifier
    model = placed(
        Classifier(line.backbone, 2, line.seed, light=config.light, frozen_stride=stride)
    )
    task = Task(
        model,
        lambda random: batches(line, pixels, target, random),
        config.batch,
        STEPS,
        lambda images, wanted: functional.cross_entropy(model(images)[0], wanted),
        lambda: 0.0,
        shared=True,
    )

    def turn() -> None:
        with tempfile.TemporaryDirectory() as folder:
            fit(
                task,
                stage="train",
                epochs=1,
                learning_rate=config.learning_rate,
                seed=line.seed,
                checkpoint=Path(folder) / "checkpoint",
            )

    return turn


def plain(line: LineConfig, pixels: Pixels, target: torch.Tensor) -> Callable[[], None]:
    """The loop of PyTorch's first tutorial."""
    model = Classifier(line.backbone, 2, line.seed, light=line.classifier.light)
    optimiser = torch.optim.AdamW(model.parameters(), lr=line.classifier.learning_rate)

    def turn() -> None:
        model.train()
        for images, wanted in batches(line, pixels, target, np.random.default_rng(line.seed)):
            optimiser.zero_grad()
            loss = functional.cross_entropy(model(images.contiguous())[0], wanted)
            loss.backward()
            optimiser.step()

    return turn


def batches(line: LineConfig, pixels: Pixels, target: torch.Tensor, random: np.random.Generator):
    """The first batches of an epoch."""
    config = line.classifier
    whole = classifier_batches(pixels, target, config, config.batch, random, threads=1)
    return itertools.islice(whole, STEPS)


def main() -> None:
    """Measure and write the table."""
    torch.set_num_threads(1)
    line, home, dataset = prepare(sys.argv[1] if sys.argv[1:] else "casting")
    pixels = loaded(line, home, dataset, "train")
    target = torch.tensor([int(sample.is_defect) for sample in pixels.samples])
    turns = {
        "plain PyTorch": plain(line, pixels, target),
        "Loupe, all layers": ours(line, pixels, target, 0),
        "Loupe, layers up to stride 8 held": ours(line, pixels, target, 8),
    }
    spent: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(TURNS):
        for name, turn in turns.items():
            started = time.process_time()
            turn()
            spent[name].append(time.process_time() - started)
    seconds = {name: statistics.median(one) for name, one in spent.items()}
    images = STEPS * line.classifier.batch
    for name, one in seconds.items():
        figures = f"{images / one:.1f} | {seconds['plain PyTorch'] / one:.2f}"
        put("training throughput", f"| {line.backbone.name} | {name} | {figures} |", key=2)


if __name__ == "__main__":
    main()
