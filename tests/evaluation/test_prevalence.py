"""A dataset of half defects and a plant that makes few: probabilities, costs, drift reference."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny_line

from ml.data.dataset import Sample
from ml.evaluation.calibrate import Fit, fit, probabilities
from ml.evaluation.evaluate import evaluate
from ml.evaluation.metrics import mean
from ml.evaluation.prevalence import at_prevalence
from ml.evaluation.reliability import calibration_error
from ml.evaluation.scores import ValidationScores
from ml.evaluation.thresholds import verdicts
from ml.settings import Home
from ml.settings.line import CostsConfig

PLANT = 0.02
COSTS = CostsConfig(escape=50)
IN_PLANT = COSTS.model_copy(update={"prevalence": PLANT})


def _drawn(seed: int, good: int, defects: int) -> tuple[dict[str, Any], Any]:
    """Scores of two models, of which the second tells less, and which images are defects."""
    random = np.random.default_rng(seed)
    defect = np.arange(good + defects) >= good
    shift = defect * 3.0
    raw = {
        "classifier": shift + random.normal(0, 1, len(defect)),
        "anomaly": 0.5 * shift + random.normal(0, 1, len(defect)),
    }
    return raw, defect


def _fit(raw: dict[str, Any], defect: Any, costs: CostsConfig) -> Fit:
    when = tiny_line.datetime(2026, 1, 5)
    samples = tuple(
        Sample(f"{n}", "validation", f"g{n}", "defect" if bad else "ok", *[""] * 5, when, "")
        for n, bad in enumerate(defect)
    )
    return fit(ValidationScores(samples, raw, np.zeros((len(defect), 1), np.float32)), costs)


def _cost(fitted: Fit, raw: dict[str, Any], defect: Any) -> float:
    passed, failed = verdicts(probabilities(fitted, raw), fitted.thresholds)
    cost = np.where(passed, COSTS.escape * defect, np.where(failed, COSTS.overkill * ~defect, 1.0))
    return float(cost.mean())


@pytest.mark.parametrize("models", [("classifier",), ("classifier", "anomaly")])
def test_a_plant_of_few_defects_gets_honest_probabilities_and_lower_costs(
    models: tuple[str, ...],
) -> None:
    raw, defect = _drawn(1, 300, 300)
    raw = {name: raw[name] for name in models}
    plain, moved = (_fit(raw, defect, costs) for costs in (COSTS, IN_PLANT))
    night, truth = _drawn(2, 49_000, 1_000)
    night = {name: night[name] for name in models}
    weights = np.ones((2, len(truth)))
    errors = [
        calibration_error(probabilities(one, night), truth, weights, len(truth), enough=False).value
        for one in (plain, moved)
    ]
    assert errors[1] is not None
    assert errors[0] is not None
    assert errors[1] < 0.01 < errors[0]
    assert _cost(moved, night, truth) < 0.5 * _cost(plain, night, truth)


def test_what_a_ceiling_lets_pass_does_not_hang_on_the_prevalence() -> None:
    raw, defect = _drawn(3, 100, 100)
    ceiling = {"max_escape_ppm": 50_000}
    passed = []
    for costs in (COSTS, IN_PLANT):
        one = {"classifier": raw["classifier"]}
        fitted = _fit(one, defect, costs.model_copy(update=ceiling))
        passed.append(verdicts(probabilities(fitted, one), fitted.thresholds)[0])
    assert passed[0].any()
    assert (passed[0] == passed[1]).all()


def test_the_card_points_to_the_key_where_few_good_parts_pass() -> None:
    raw, defect = _drawn(4, 20, 60)
    raw = {"anomaly": raw["anomaly"]}
    plain, moved = (_fit(raw, defect, costs) for costs in (COSTS, IN_PLANT))
    said = "Of the validation groups 75% are taken to be defective"
    assert any(said in warning for warning in plain.warnings)
    assert not any(said in warning for warning in moved.warnings)
    assert moved.thresholds.prevalence == PLANT


def test_weights_at_a_prevalence_keep_the_say_of_each_kind_inside() -> None:
    defect = np.array([True, True, False, False])
    weights = np.array([[1.0, 1.0, 1.0, 1.0], [2.0, 1.0, 3.0, 1.0], [0.0, 0.0, 2.0, 2.0]])
    found = at_prevalence(weights, defect, 0.1)
    assert mean(defect.astype(float), np.ones(4, bool), found)[:2] == pytest.approx([0.1, 0.1])
    assert found[1, 0] / found[1, 1] == pytest.approx(2)
    assert found[:, 2:] == pytest.approx(weights[:, 2:])
    assert found[2] == pytest.approx(weights[2])
    assert at_prevalence(weights, defect, None) is weights


def test_the_drift_reference_has_as_many_defects_as_the_plant(tmp_path: Path) -> None:
    env = tiny_line.make_env(tmp_path)
    home, line = Home(env.home), tiny_line.make_line()
    samples = tiny_line.add_images(home, line.name)
    tiny_line.write_dataset(home, line.name, samples)
    tiny_line.write_runs(home, line)
    costs = line.costs.model_copy(update={"prevalence": 0.1})
    line = line.model_copy(update={"costs": costs})
    made = evaluate(env, home, line, tiny_line.DATASET)
    defective = {row["sha256"] for row in samples if row["label"] == "defect"}
    rows = pq.read_table(made.bundle.reference)["sha256"].to_pylist()
    good = sum(row not in defective for row in rows)
    assert good > 0
    assert len(rows) - good == round(good / 9)
    assert made.bundle.card.thresholds.prevalence == 0.1
    assert "that 10 % of its parts are defective" in " ".join(made.report.read_text().split())
