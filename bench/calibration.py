"""Platt scaling against isotonic regression on the raw scores of a line's trained models.

    python bench/calibration.py <line> <dataset>

Takes the finished runs of a dataset version and scores validation and test, which no model was
fitted on. Then many times: calibrate on a random draw of these groups as large as validation is,
and measure on the groups left. Prints one table row for each model. Isotonic is scikit-learn's,
with its steps pulled by one good and one defective group, so that none says 0 or 1. Both fits give
every group the same say; the measures count images. "Called good" are the defects that are given a
probability below 5 %, of which a plant with dear escapes lets parts pass.
"""

import sys
from dataclasses import replace

import numpy as np
from sklearn.isotonic import IsotonicRegression

from ml.data.dataset import load_dataset
from ml.evaluation.logistic import fit_platt, group_weights, platt_log_odds, sigmoid
from ml.evaluation.reliability import calibration_error
from ml.evaluation.scores import Flags, Numbers, TestScores, ValidationScores, score
from ml.inference.engine import ModelSet
from ml.settings import Env, Home, load_line
from ml.training.run import finished_runs

DRAWS = 200
CALLED_GOOD = 0.05


def platt(fitted: ValidationScores, model: str, new: Numbers) -> Numbers:
    """Probabilities of `new` scores of a model."""
    return sigmoid(platt_log_odds(fit_platt(fitted, model), new))


def isotonic(fitted: ValidationScores, model: str, new: Numbers) -> Numbers:
    """Probabilities of `new` scores of a model."""
    weights = group_weights(fitted)
    steps = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    steps.fit(fitted.raw[model], fitted.is_defect, weights)
    return (steps.predict(new) * weights.sum() + 1) / (weights.sum() + 2)


def measure(p: Numbers, defect: Flags) -> tuple[float, float, float, float]:
    """Brier score, log loss, expected calibration error, share of the defects called good."""
    loss = -np.log(np.clip(np.where(defect, p, 1 - p), 1e-12, 1)).mean()
    ece = calibration_error(p, defect, np.ones((1, len(p))), len(p), enough=False).value
    good = float((p[defect] < CALLED_GOOD).mean())
    return (
        float(np.mean((p - defect) ** 2)),
        float(loss),
        float("nan") if ece is None else ece,
        good,
    )


def compare(scores: ValidationScores, model: str, share: float) -> Numbers:
    """Measures `[draws, 2, 4]`: Platt and isotonic, on the groups that calibrated neither."""
    random = np.random.default_rng(0)
    names = np.unique(scores.groups)
    rows = []
    while len(rows) < DRAWS:
        drawn = random.permutation(names)[: max(2, round(share * len(names)))]
        inside = np.isin(scores.groups, drawn)
        fitted, left = scores.among(inside), scores.among(~inside)
        if len(set(fitted.is_defect)) < 2 or len(set(left.is_defect)) < 2:
            continue
        rows.append(
            [
                measure(method(fitted, model, left.raw[model]), left.is_defect)
                for method in (platt, isotonic)
            ]
        )
    return np.array(rows)


def main(name: str, dataset: str) -> None:
    env = Env.read()
    home, line = Home.of(env), load_line(env.lines / f"{name}.toml")
    runs = finished_runs(home, line, dataset)
    sizes = {model: run.result["size"] for model, run in runs.items()}
    models = ModelSet({model: run.onnx for model, run in runs.items()}, sizes, env.threads)
    data = load_dataset(home, line.name, dataset)
    validation, test = (
        score(kind, home, models, data.split(kind.split), env.threads)
        for kind in (ValidationScores, TestScores)
    )
    # Nothing of this bench is shipped: here the groups of both are drawn from.
    pooled = ValidationScores(
        (*validation.samples, *(replace(one, split="validation") for one in test.samples)),
        {model: np.append(raw, test.raw[model]) for model, raw in validation.raw.items()},
        np.concatenate([validation.embeddings, test.embeddings]),
    )
    share = len(set(validation.groups)) / len(set(pooled.groups))
    for model in runs:
        found = compare(pooled, model, share)
        cells = [f"{a:.3f} / {b:.3f}" for a, b in found.mean(axis=0).T]
        better = (found[:, 0, 1] < found[:, 1, 1]).mean()
        print("|", " | ".join([name, model, *cells, f"{better:.0%}"]), "|")


if __name__ == "__main__":
    main(*sys.argv[1:])
