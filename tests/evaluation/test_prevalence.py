"""A dataset of half defects and a plant that makes few: probabilities, costs, drift reference."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny_line

from ml.bundle.card import Metric
from ml.data.dataset import Sample
from ml.evaluation.calibrate import Fit, fit, probabilities
from ml.evaluation.compare import _cost as _cost_a_part
from ml.evaluation.compare import _Outcome
from ml.evaluation.draft import _whole_groups
from ml.evaluation.evaluate import evaluate
from ml.evaluation.intervals import bootstrap_weights
from ml.evaluation.metrics import mean
from ml.evaluation.prevalence import at_prevalence
from ml.evaluation.reliability import calibration_error
from ml.evaluation.scores import TestScores, ValidationScores
from ml.evaluation.thresholds import chow, rates, verdicts
from ml.search.objective import cost
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


def _validation(raw: dict[str, Any], defect: Any) -> ValidationScores:
    when = tiny_line.datetime(2026, 1, 5)
    samples = tuple(
        Sample(f"{n}", "validation", f"g{n}", "defect" if bad else "ok", *[""] * 5, when, "")
        for n, bad in enumerate(defect)
    )
    return ValidationScores(samples, raw, np.zeros((len(defect), 1), np.float32))


def _fit(raw: dict[str, Any], defect: Any, costs: CostsConfig) -> Fit:
    return fit(_validation(raw, defect), costs)


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


@pytest.mark.parametrize("models", [("classifier",), ("classifier", "anomaly")])
@pytest.mark.parametrize("seed", range(3, 9))
def test_what_a_ceiling_lets_pass_does_not_hang_on_the_prevalence(
    models: tuple[str, ...], seed: int
) -> None:
    raw, defect = _drawn(seed, 100, 100)
    raw = {name: raw[name] for name in models}
    passed = []
    for costs in (COSTS, IN_PLANT):
        fitted = _fit(raw, defect, costs.model_copy(update={"max_escape_ppm": 50_000}))
        passed.append(verdicts(probabilities(fitted, raw), fitted.thresholds)[0])
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


def test_the_review_rate_is_that_of_the_plant() -> None:
    # Of the good images none is reviewed, of the defects all are.
    defect = np.arange(40) >= 20
    p_defect = np.where(defect, 0.5, 0.0)
    scores = _validation({"classifier": p_defect}, defect)
    weights = bootstrap_weights(scores.groups, 1)
    found = {
        costs.prevalence: rates(p_defect, chow(costs), scores, weights)["review_rate"]
        for costs in (COSTS, IN_PLANT)
    }
    assert (found[None].value, found[None].n) == (0.5, 40)
    assert (found[PLANT].value, found[PLANT].n) == (PLANT, 20)
    alone = scores.among(defect)
    assert rates(p_defect[defect], chow(IN_PLANT), alone, weights[:, defect])[
        "review_rate"
    ] == Metric(value=None, low=None, high=None, n=0)


def test_a_search_pays_what_the_plant_pays() -> None:
    raw, defect = _drawn(5, 400, 400)
    one = {"anomaly": raw["anomaly"]}
    fitted = _fit(one, defect, IN_PLANT)
    night, truth = _drawn(6, 49_000, 1_000)
    paid = cost(_validation(one, defect), IN_PLANT)
    assert paid == pytest.approx(_cost(fitted, {"anomaly": night["anomaly"]}, truth), rel=0.25)


def test_the_gate_pays_what_the_plant_pays() -> None:
    # The challenger lets every tenth defect escape, the champion reviews every good part.
    defect = np.arange(200) >= 100
    new = _Outcome(np.zeros(200), np.where(defect & (np.arange(200) % 10 == 0), 50.0, 0.0))
    old = _Outcome(np.zeros(200), np.where(defect, 0.0, 1.0))
    validation = _validation({}, defect)
    samples = tuple(replace(one, split="test") for one in validation.samples)
    test = TestScores(samples, {}, validation.embeddings)
    weights = bootstrap_weights(test.groups, 1)
    found = {}
    for prevalence in (None, PLANT):
        costs = COSTS.model_copy(update={"prevalence": prevalence})
        line = tiny_line.make_line().model_copy(update={"costs": costs})
        found[prevalence] = _cost_a_part(line, new, old, test, weights)
    assert found[None][1].startswith("cost an image 2.500 against 0.500")
    assert found[PLANT][1].startswith("cost an image 0.100 against 0.980")
    assert (found[None][0], found[PLANT][0]) == (False, True)


def test_good_only_lines_do_not_use_it() -> None:
    raw, _ = _drawn(7, 60, 0)
    fitted = _fit(raw, np.zeros(60, bool), IN_PLANT)
    assert fitted.thresholds.prevalence is None
    assert "`costs.prevalence` is not used." in fitted.warnings


def test_weights_at_a_prevalence_keep_the_say_of_each_kind_inside() -> None:
    defect = np.array([True, True, False, False])
    weights = np.array([[1.0, 1.0, 1.0, 1.0], [2.0, 1.0, 3.0, 1.0], [0.0, 0.0, 2.0, 2.0]])
    found = at_prevalence(weights, defect, 0.1)
    assert mean(defect.astype(float), np.ones(4, bool), found)[:2] == pytest.approx([0.1, 0.1])
    assert found[1, 0] / found[1, 1] == pytest.approx(2)
    assert found[:2, 2:] == pytest.approx(weights[:2, 2:])
    assert np.isnan(found[2]).all()
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
    # Groups of one image each.
    assert len(rows) - good == round(good / 9)
    assert made.bundle.card.thresholds.prevalence == 0.1
    assert "that 10 % of its parts are defective" in " ".join(made.report.read_text().split())


def test_a_lot_of_good_and_defective_parts_stays_in_the_reference() -> None:
    rows = [{"group": f"lot{n % 6}"} for n in range(120)] + [{"group": "scrap"}] * 3
    kept = _whole_groups(rows, {f"lot{n}" for n in range(6)}, PLANT)
    assert len(kept) == 120
