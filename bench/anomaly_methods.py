"""The anomaly methods and their fusion on real lines, by cross-validation over groups.

    python bench/anomaly_methods.py [line ...]

For each fold the methods are fitted on three fifths of the groups, calibrated and fused on one
fifth and scored on the last, through ONNX Runtime as the night does it. Every image is thus scored
by models and weights that saw nothing of its group. The methods take the line's own strides and
light, at one size. The table goes into RESULTS.md. Scores of a fold are kept in
`.loupe-bench/methods`: a killed run goes on where it was. Remove the folder to measure anew.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from anomaly import FOLDS, LINES, PROJECT, changed, folds, prepare
from result_tables import put

from ml.data.dataset import Dataset, Sample
from ml.settings import Home, LineConfig

METHODS = ("patchcore", "discriminator", "student_teacher")
# The student's, so that five folds take less than an hour on one core: the paper trains for 100.
EPOCHS = 4
ROOT = PROJECT / ".loupe-bench" / "methods"
THREADS = int(os.environ.get("LOUPE_THREADS", "2"))

Scores = npt.NDArray[np.float64]


def dealt(dataset: Dataset, fold: npt.NDArray[np.int64], number: int) -> Dataset:
    """The dataset with one fold as test, the next as validation and the rest for training."""
    names = {number: "test", (number + 1) % FOLDS: "validation"}
    samples = tuple(
        replace(sample, split=names.get(int(of), "train"))
        for sample, of in zip(dataset.samples, fold, strict=True)
    )
    return Dataset(dataset.name, samples, {})


def fold_scores(name: str, method: str, number: int) -> dict[str, list[float]]:
    """Raw scores of validation and test by one method on one fold."""
    import torch

    from ml.evaluation.scores import TestScores, ValidationScores, score
    from ml.inference.engine import ModelSet
    from ml.models.patches import OUTPUTS
    from ml.training.export import export_onnx

    torch.set_num_threads(THREADS)
    line, home, dataset = prepare(name)
    line = changed(line, method=method, epochs=EPOCHS)
    data = dealt(dataset, folds(dataset.samples, line.seed), number)
    path = ROOT / f"{name}-{method}-{number}.onnx"
    model = fitted(line, home, data, path.with_suffix(".checkpoint"))
    export_onnx(model, OUTPUTS, line.anomaly.size, path)
    models = ModelSet({"anomaly": path}, {"anomaly": line.anomaly.size}, THREADS)
    return {
        kind.split: score(kind, home, models, data.split(kind.split), THREADS)
        .raw["anomaly"]
        .tolist()
        for kind in (ValidationScores, TestScores)
    }


def fitted(line: LineConfig, home: Home, data: Dataset, checkpoint: Path) -> Any:
    """The network as `loupe train` fits it."""
    from ml.training.anomaly import fit_anomaly
    from ml.training.student import fit_student

    if line.anomaly.method == "student_teacher":
        return fit_student(home, line, data, checkpoint, THREADS)[0]
    return fit_anomaly(home, line, data, THREADS)[0]


def measure(name: str) -> list[str]:
    """The cells of a line's row: AUROC of each method and of the fusion, and the difference."""
    from ml.evaluation.calibrate import fit, model_probabilities, probabilities
    from ml.evaluation.intervals import bootstrap_weights
    from ml.evaluation.metrics import auroc
    from ml.evaluation.scores import ValidationScores

    line, _, dataset = prepare(name)
    fold = folds(dataset.samples, line.seed)
    p = {method: np.zeros(len(fold)) for method in (*METHODS, "fusion")}
    for number in range(FOLDS):
        found = {method: scored(name, method, number) for method in METHODS}
        data = dealt(dataset, fold, number)
        raw = {method: np.array(one["validation"]) for method, one in found.items()}
        held_out = data.split("validation")
        decided = fit(ValidationScores(held_out, raw, np.zeros((len(held_out), 1))), line.costs)
        raw = {method: np.array(one["test"]) for method, one in found.items()}
        for method in METHODS:
            p[method][fold == number] = model_probabilities(decided, method, raw[method])
        p["fusion"][fold == number] = probabilities(decided, raw)
    return compared(p, dataset.samples, bootstrap_weights, auroc, line.seed)


def compared(
    p: dict[str, Scores], samples: tuple[Sample, ...], bootstrap: Any, auroc: Any, seed: int
) -> list[str]:
    """AUROC with intervals, and how much the fusion is above the best method in the same draws."""
    defect = np.array([sample.is_defect for sample in samples])
    weights = bootstrap([sample.group for sample in samples], seed)
    values = {method: auroc(one, defect, weights) for method, one in p.items()}
    best = max(METHODS, key=lambda method: float(values[method][0]))
    difference = values["fusion"] - values[best]
    low, high = np.nanpercentile(difference[1:], [2.5, 97.5])
    answer = "yes" if low > 0 else "no" if high < 0 else "not shown"
    return [
        *(interval(one) for one in values.values()),
        f"{difference[0]:+.3f} ({low:+.3f} to {high:+.3f}) against {best}",
        answer,
    ]


def interval(values: Scores) -> str:
    """A figure and its 95 % interval over resampled groups."""
    low, high = np.nanpercentile(values[1:], [2.5, 97.5])
    return f"{values[0]:.3f} ({low:.2f}–{high:.2f})"


def scored(name: str, method: str, number: int) -> dict[str, list[float]]:
    """A fold's scores, from an earlier run or from a process of its own."""
    path = ROOT / f"{name}-{method}-{number}.json"
    if not path.exists():
        ROOT.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, __file__, "--one", name, method, str(number)]
        done = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, check=True, text=True)
        path.write_text(done.stdout.splitlines()[-1])
    return json.loads(path.read_text())


def main() -> None:
    """Measure and write the table."""
    if sys.argv[1:2] == ["--one"]:
        name, method, number = sys.argv[2:5]
        print(json.dumps(fold_scores(name, method, int(number))))
        return
    for name in sys.argv[1:] or LINES:
        put("anomaly methods", f"| {' | '.join([name, *measure(name)])} |")


if __name__ == "__main__":
    main()
