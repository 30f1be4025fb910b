"""The segmenter on magnetic tiles, against a plain U-Net for the same processor time.

    python bench/segmentation.py [--minutes 20] [--seed 20261121 ...] [--line magnetic_tile]

Needs the images that the line file names. Each contender trains in a process of its own with one
thread, both at the same time, on the same images at the same size, split by group; the minutes are
those of the processor, so that a busy machine favours nobody. The peer is
segmentation_models_pytorch's U-Net as it comes, with the same encoder and weights, cross-entropy
plus batch Dice, and its mask at one half; its second row has its mask rule chosen on validation as
ours is. Every seed is another split. The tables go into RESULTS.md.
"""

import argparse
import copy
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from anomaly import PROJECT, prepare, resplit
from result_tables import put
from torch import nn

from ml.bundle.card import MaskRule
from ml.data.dataset import Dataset
from ml.evaluation.intervals import bootstrap_weights
from ml.evaluation.localisation import map_metrics
from ml.evaluation.mask_rule import MaskRuleChoice
from ml.evaluation.pixels import MapEvidence
from ml.evaluation.scores import TestScores, ValidationScores, score
from ml.inference.engine import ModelSet
from ml.models.segmenter import OUTPUTS, Segmenter
from ml.settings import Home, LineConfig, load_line
from ml.training.export import export_onnx
from ml.training.patch_segmenter import fit_patch_segmenter
from ml.training.pixels import augment, load_pixels, steps_per_epoch
from ml.training.segmenter import fit_segmenter, with_masks

CONTENDERS = {
    "peer": "plain U-Net",
    "peer_rule": "plain U-Net, our mask rule",
    "ours": "Loupe's `{method}`",
}
FIGURES = ("dice_macro", "missed", "false_region", "dice_pooled")
# What a step costs beyond the network itself: reading, changing and checking the images.
AROUND = 1.15


def ours(line: LineConfig, home: Home, data: Dataset, minutes: float) -> tuple[nn.Module, float]:
    """As `loupe train` does; a U-Net with as many epochs as the minutes hold."""
    begun = time.process_time()
    if line.segmenter.method == "patches":
        found, facts = fit_patch_segmenter(home, line, data, 1)
        print(facts, file=sys.stderr)
        return found, time.process_time() - begun
    steps = steps_per_epoch(len(with_masks(data).split("train")), line.segmenter.batch)
    epochs = round(minutes * 60 / (AROUND * steps * seconds_per_step(line)))
    segmenter = line.segmenter.model_copy(update={"epochs": max(1, epochs)})
    line = line.model_copy(update={"segmenter": segmenter})
    with tempfile.TemporaryDirectory() as folder:
        model, fitted = fit_segmenter(home, line, data, Path(folder) / "checkpoint", 1)
    print(f"{epochs} epochs, the best is {fitted.best_epoch}", fitted.losses, file=sys.stderr)
    return model, time.process_time() - begun


def seconds_per_step(line: LineConfig) -> float:
    """Processor seconds of a training step."""
    config = line.segmenter
    model = Segmenter(line.backbone, config.decoder, line.seed, config.light)
    model = model.to(memory_format=torch.channels_last)
    images = torch.rand(config.batch, 3, *config.size) * 255
    spent = []
    for _ in range(3):
        begun = time.process_time()
        copy.deepcopy(model).train()(images).mean().backward()
        spent.append(time.process_time() - begun)
    return min(spent)


def peer(line: LineConfig, home: Home, data: Dataset, minutes: float) -> tuple[Segmenter, float]:
    """Any image in any batch, cross-entropy plus batch Dice, the last weights."""
    import segmentation_models_pytorch as smp

    begun = time.process_time()
    torch.manual_seed(line.seed)
    random = np.random.default_rng(line.seed)
    # The decoder of 256 channels is the U-Net's own default.
    model = Segmenter(line.backbone, 256, line.seed).to(memory_format=torch.channels_last)
    train = load_pixels(
        home, with_masks(data).split("train"), line.segmenter.size, masks=True, threads=1
    )
    rate = line.segmenter.learning_rate
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate)
    dice, entropy = smp.losses.DiceLoss("binary"), torch.nn.BCEWithLogitsLoss()
    model.train()
    while (done := (time.process_time() - begun) / (60 * minutes)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = rate * 0.5 * (1 + np.cos(np.pi * done))
        index = random.choice(len(train.samples), line.segmenter.batch, replace=False)
        images, masks = augment(train.images[index], train.masks[index], random, mirror=True)
        found = model(images)
        optimiser.zero_grad()
        (entropy(found, masks) + dice(found, masks)).backward()
        optimiser.step()
    return model.eval(), time.process_time() - begun


def measure(
    model: nn.Module, line: LineConfig, home: Home, data: Dataset, ruled: bool
) -> dict[str, Any]:
    """The figures on test, as `loupe evaluate` makes them; `ruled` takes its mask rule."""
    size = line.segmenter.size
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "segmenter.onnx"
        export_onnx(model, OUTPUTS, size, path)
        rule = MaskRule()
        if ruled:
            choice = MaskRuleChoice(home, line.segmenter.max_false_regions)
            models = ModelSet({"segmenter": path}, {"segmenter": size}, 1)
            score(ValidationScores, home, models, data.split("validation"), 1, choice)
            rule = choice.choose()[0]
        models = ModelSet({"segmenter": path}, {"segmenter": size}, 1, rule)
        maps = MapEvidence(home, {"segmenter": size})
        test = score(TestScores, home, models, data.split("test"), 1, maps)
    weights = bootstrap_weights(test.groups, line.seed)
    metrics = map_metrics(maps, test, weights)
    types = np.array([one.defect_type for one in test.samples])
    return {
        "figures": {name: metrics[f"segmenter.{name}"].model_dump() for name in FIGURES},
        "by_type": {
            kind: float(maps.overlap.dice[maps.with_mask & (types == kind)].mean())
            for kind in np.unique(types[maps.with_mask])
        },
        "rule": rule.model_dump(),
    }


def one(contender: str, name: str, seed: int, minutes: float) -> dict[str, Any]:
    """Train and measure one contender; the peer with and without our mask rule."""
    torch.set_num_threads(1)
    line, home, dataset = prepare(name)
    data = resplit(dataset, line, seed)
    model, spent = (ours if contender == "ours" else peer)(line, home, data, minutes)
    rows = {"ours": True} if contender == "ours" else {"peer": False, "peer_rule": True}
    return {
        kind: {"minutes": spent / 60} | measure(model, line, home, data, ruled)
        for kind, ruled in rows.items()
    }


def row(name: str, seed: int, contender: str, found: dict[str, Any]) -> str:
    """A row of the table."""
    figures = [cell(found["figures"][figure]) for figure in FIGURES]
    types = "; ".join(f"{kind} {dice:.2f}" for kind, dice in found["by_type"].items())
    method = load_line(PROJECT / "lines" / f"{name}.toml").segmenter.method
    label = CONTENDERS[contender].format(method=method)
    cells = [name, str(seed), label, f"{found['minutes']:.1f}", *figures, types]
    return "| " + " | ".join(cells) + " |"


def cell(metric: dict[str, Any]) -> str:
    """A figure with its interval and the groups behind it."""
    if metric["value"] is None:
        return "unknown"
    low, high = metric["low"], metric["high"]
    limits = "too few" if low is None else f"{low:.2f}–{high:.2f}"
    return f"{metric['value']:.3f} ({limits}, n {metric['n']})"


def main() -> None:
    """Train both contenders on every split and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--line", default="magnetic_tile")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, nargs="+", default=[20261121, 1])
    parser.add_argument("--one", choices=("ours", "peer"), help="one contender; prints its figures")
    asked = parser.parse_args()
    if asked.one:
        found = one(asked.one, asked.line, asked.seed[0], asked.minutes)
        print(json.dumps(found, default=float))
        return
    prepare(asked.line)
    for seed in asked.seed:
        command = [sys.executable, __file__, "--line", asked.line, "--seed", str(seed)]
        command += ["--minutes", str(asked.minutes)]
        running = [
            subprocess.Popen([*command, "--one", kind], cwd=PROJECT, stdout=subprocess.PIPE)
            for kind in ("peer", "ours")
        ]
        for process in running:
            printed = process.communicate()[0]
            if process.returncode:
                sys.exit(process.returncode)
            for contender, found in json.loads(printed.splitlines()[-1]).items():
                put("segmentation", row(asked.line, seed, contender, found), key=3)


if __name__ == "__main__":
    main()
