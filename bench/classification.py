"""The classifier on a real line, against a linear probe and plain fine-tuning in the same run.

    python bench/classification.py [--seed 20261121 1] [--contender ours probe ...] [line ...]

Needs the images that the line files name. Every seed is another split. Each contender learns and
scores in a process of its own, one after the other, on the same groups, images, backbone and size;
plain fine-tuning gets at least the processor minutes that Loupe took. The threshold of each is the
one of the best F2 on validation. The table goes into RESULTS.md.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from anomaly import PROJECT, prepare, resplit
from result_tables import put

from ml.data.dataset import Dataset
from ml.settings import Home, LineConfig

LINES = ("casting",)
CONTENDERS = {
    "ours": "Loupe's classifier",
    "probe": "linear probe",
    "pooled": "the probe that Loupe starts from",
    "plain": "plain fine-tuning",
}
# The peer: what most tutorials do.
BATCH, LEARNING_RATE, MOST_EPOCHS = 16, 3e-4, 50

Numbers = npt.NDArray[Any]
Found = dict[str, Any]


def ours(line: LineConfig, home: Home, dataset: Dataset, _: float) -> Found:
    """As `loupe train` fits it."""
    from ml.training.classifier import fit_classifier

    with tempfile.TemporaryDirectory() as folder:
        model, fitted = fit_classifier(home, line, dataset, Path(folder) / "checkpoint", 1)
    return {"epochs": len(fitted.losses) - 1} | scored(model, line, home, dataset)


def probe(line: LineConfig, home: Home, dataset: Dataset, _: float) -> Found:
    """Logistic regression on the embeddings of the untouched backbone."""
    import torch

    from ml.models.classifier import Classifier

    images = len(dataset.split("train"))
    alike = torch.full((images,), 1 / images)
    return probed(Classifier(line.backbone, 2, line.seed), alike, line, home, dataset)


def pooled(line: LineConfig, home: Home, dataset: Dataset, _: float) -> Found:
    """The same with the line's `strides`, `light` and `turns`, where either kind of image has the
    same say: what `loupe train` starts from.
    """
    from ml.models.classifier import Classifier
    from ml.training.sampling import equal_say

    config = line.classifier
    model = Classifier(
        line.backbone,
        2,
        line.seed,
        strides=config.strides,
        light=config.light,
        turns=config.turns,
    )
    defect = np.array([sample.is_defect for sample in dataset.split("train")])
    return probed(model, equal_say(defect), line, home, dataset)


def probed(model: Any, say: Any, line: LineConfig, home: Home, dataset: Dataset) -> Found:
    """A model with a head fitted on training, where image i has `say[i]`."""
    import torch

    from ml.training.pixels import chunks
    from ml.training.probe import fit_head

    pixels = loaded(line, home, dataset, "train")
    target = torch.tensor([int(sample.is_defect) for sample in pixels.samples])
    fit_head(model, chunks(pixels), target, say)
    return {"epochs": 0} | scored(model, line, home, dataset)


def plain(line: LineConfig, home: Home, dataset: Dataset, minutes: float) -> Found:
    """Cross-entropy on shuffled batches, mirror images, AdamW with a cosine, all layers."""
    import torch
    from torch.nn import functional

    from ml.models.classifier import Classifier
    from ml.training.device import placed
    from ml.training.pixels import chunks, to_tensor

    pixels, validation = (loaded(line, home, dataset, name) for name in ("train", "validation"))
    target, expected = (
        torch.tensor([int(sample.is_defect) for sample in one.samples])
        for one in (pixels, validation)
    )
    model = placed(Classifier(line.backbone, 2, line.seed))
    random = np.random.default_rng(line.seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    steps = len(target) // BATCH
    best, lowest, epoch, total = model.state_dict(), float("inf"), 0, MOST_EPOCHS
    started = time.process_time()
    while epoch < total:
        model.train()
        order = random.permutation(len(target))
        for number in range(steps):
            share = (epoch + number / steps) / total
            optimiser.param_groups[0]["lr"] = LEARNING_RATE * (1 + np.cos(np.pi * share)) / 2
            index = order[number * BATCH : (number + 1) * BATCH]
            images = pixels.images[index][:, :, :: random.choice([-1, 1])]
            loss = functional.cross_entropy(model(to_tensor(images))[0], target[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        model.eval()
        with torch.inference_mode():
            logits = torch.cat([model(images)[0] for images in chunks(validation)])
        loss = float(functional.cross_entropy(logits, expected))
        if loss < lowest:
            lowest = loss
            best = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        epoch += 1
        spent = (time.process_time() - started) / 60
        # The first epoch says how many fit; the schedule then ends with the last one.
        total = int(np.ceil(minutes / spent)) if epoch == 1 else total
    model.load_state_dict(best)
    return {"epochs": epoch} | scored(model, line, home, dataset)


def loaded(line: LineConfig, home: Home, dataset: Dataset, split: str) -> Any:
    """The pixels of a split at the line's size."""
    from ml.training.pixels import load_pixels

    return load_pixels(home, dataset.split(split), line.classifier.size, masks=False, threads=1)


def scored(model: Any, line: LineConfig, home: Home, dataset: Dataset) -> Found:
    """Minutes so far, and raw scores of validation and test as the night computes them."""
    from ml.training.export import named_outputs, raw_scores
    from ml.training.pixels import chunks

    minutes = time.process_time() / 60
    model = model.eval()
    scores = {
        split: np.concatenate(
            [
                raw_scores("classifier", named_outputs("classifier", model, images))
                for images in chunks(loaded(line, home, dataset, split))
            ]
        ).tolist()
        for split in ("validation", "test")
    }
    return {"minutes": minutes, "scores": scores}


def threshold(scores: Numbers, defect: Numbers) -> float:
    """The threshold of the highest F2, in the middle between two scores of validation."""
    from ml.evaluation.metrics import f_beta

    ranked = np.unique(scores)
    edges = (ranked[1:] + ranked[:-1]) / 2
    once = np.ones((1, len(scores)))
    return float(edges[np.argmax([f_beta(scores > edge, defect, once, 2)[0] for edge in edges])])


def figures(found: Found, dataset: Dataset, seed: int) -> list[str]:
    """The cells of a row: figures on test with 95 % intervals over groups."""
    from ml.evaluation import metrics
    from ml.evaluation.intervals import bootstrap_weights

    scores, defect = {}, {}
    for split in ("validation", "test"):
        scores[split] = np.array(found["scores"][split])
        defect[split] = np.array([sample.is_defect for sample in dataset.split(split)])
    raw, bad = scores["test"], defect["test"]
    failed = raw > threshold(scores["validation"], defect["validation"])
    groups = np.array([sample.group for sample in dataset.split("test")])
    weights = bootstrap_weights(groups.tolist(), seed)
    alarmed, good = np.unique(groups[failed & ~bad]), np.unique(groups[~bad])
    return [
        interval(metrics.auroc(raw, bad, weights)),
        interval(metrics.f_beta(failed, bad, weights, 2)),
        interval(metrics.rate(~failed, bad, weights)),
        interval(metrics.rate(failed, ~bad, weights)),
        f"{len(alarmed)} of {len(good)}",
        f"{float(metrics.rate(raw < np.quantile(raw[~bad], 0.97), bad, weights[:1])[0]):.3f}",
    ]


def interval(values: Numbers) -> str:
    """A figure and its interval."""
    low, high = np.nanpercentile(values[1:], [2.5, 97.5])
    return f"{values[0]:.3f} ({low:.2f}–{high:.2f})"


def one(name: str, kind: str, seed: int, minutes: float) -> Found:
    """What a contender found; one thread, so that minutes compare whatever else runs."""
    import torch

    torch.set_num_threads(1)
    line, home, dataset = prepare(name)
    contender = {"ours": ours, "probe": probe, "pooled": pooled, "plain": plain}[kind]
    found: Found = contender(line, home, resplit(dataset, line, seed), minutes)
    return found


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lines", nargs="*", default=LINES)
    parser.add_argument("--seed", type=int, nargs="+", default=[20261121, 1])
    parser.add_argument("--contender", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--one", nargs=2, metavar=("CONTENDER", "MINUTES"), help="for itself")
    asked = parser.parse_args()
    if asked.one:
        kind, minutes = asked.one
        print(json.dumps(one(asked.lines[0], kind, asked.seed[0], float(minutes))))
        return
    for name in asked.lines:
        line, _, whole = prepare(name)
        found = [
            measure(name, seed, asked.contender, line, resplit(whole, line, seed))
            for seed in asked.seed
        ]
        for kind in asked.contender:
            rows = [[float(cell.split()[0]) for cell in one[kind]] for one in found]
            means = [f"{value:.3f}" for value in np.mean(rows, axis=0)]
            write(name, f"mean of {len(rows)}", kind, means)


def measure(
    name: str, seed: int, contenders: list[str], line: LineConfig, dataset: Dataset
) -> dict[str, list[str]]:
    """The cells of each contender on one split, which are a row each."""
    minutes, rows = 0.0, {}
    for kind in contenders:
        done = subprocess.run(
            [sys.executable, __file__, name, "--seed", str(seed), "--one", kind, str(minutes)],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        found = json.loads(done.stdout.splitlines()[-1])
        minutes = max(minutes, found["minutes"])
        epochs, spent = f"{found['epochs']}", f"{found['minutes']:.1f}"
        rows[kind] = [epochs, spent, *figures(found, dataset, line.seed)]
        write(name, str(seed), kind, rows[kind])
    return rows


def write(name: str, split: str, kind: str, cells: list[str]) -> None:
    """A row of the table in RESULTS.md."""
    row = " | ".join([name, split, CONTENDERS[kind], *cells])
    put("classification", f"| {row} |", key=3)


if __name__ == "__main__":
    main()
