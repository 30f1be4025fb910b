"""Training steps of the classifier against a plain PyTorch loop on the same loader and model.

    python bench/training_throughput.py [line]

Needs the images and weights of the line (casting). The plain loop leaves memory layout, memory
allocation and optimiser at their defaults. Contenders take turns, so that other work on the machine
slows all of them; each turn has a process of its own, with a turn before it that does not count.
Processor seconds of the median turn count, in one thread. The table goes into RESULTS.md.
"""

import argparse
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from anomaly import PROJECT
from classification import loaded, prepare
from result_tables import put
from torch.nn import functional

from ml.models.classifier import Classifier
from ml.settings import LineConfig
from ml.training.classifier import classifier_batches
from ml.training.device import placed
from ml.training.loop import Task, fit
from ml.training.pixels import Pixels

TURNS, STEPS = 3, 20
PLAIN = "plain PyTorch"
# Each with the stride up to which layers are held.
CONTENDERS = {PLAIN: None, "Loupe, all layers": 0, "Loupe, layers up to stride 8 held": 8}


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


def seconds(name: str, contender: str) -> float:
    """Processor seconds of a turn, in this process."""
    torch.set_num_threads(1)
    line, home, dataset = prepare(name)
    pixels = loaded(line, home, dataset, "train")
    target = torch.tensor([int(sample.is_defect) for sample in pixels.samples])
    stride = CONTENDERS[contender]
    turn = plain(line, pixels, target) if stride is None else ours(line, pixels, target, stride)
    turn()
    started = time.process_time()
    turn()
    return time.process_time() - started


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("line", nargs="?", default="casting")
    parser.add_argument("--one", choices=CONTENDERS, help="a turn of this one, for itself")
    asked = parser.parse_args()
    if asked.one:
        print(seconds(asked.line, asked.one))
        return
    spent: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for name in [*CONTENDERS] * TURNS:
        command = [sys.executable, __file__, asked.line, "--one", name]
        done = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, check=True, text=True)
        spent[name].append(float(done.stdout.splitlines()[-1]))
    line, _, _ = prepare(asked.line)
    images = STEPS * line.classifier.batch
    for name, turns in spent.items():
        times = statistics.median(
            plain / one for plain, one in zip(spent[PLAIN], turns, strict=True)
        )
        figures = f"{images / statistics.median(turns):.1f} | {times:.2f}"
        put("training throughput", f"| {line.backbone.name} | {name} | {figures} |", key=2)


if __name__ == "__main__":
    main()
