"""Calibration, fusion and thresholds: properties that verdicts rest on."""

from math import isfinite

import numpy as np
import pytest
import tiny_line
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.data.dataset import Sample
from ml.errors import LeakError
from ml.evaluation.calibrate import fit, fit_fusion, fit_platt, probabilities
from ml.evaluation.scores import TestScores, ValidationScores
from ml.settings.line import CostsConfig

COSTS = CostsConfig()


def _sample(number: int, defect: bool, split: str = "validation") -> Sample:
    label = "defect" if defect else "ok"
    when = tiny_line.datetime(2026, 1, 5)
    return Sample(str(number), split, str(number), label, "", "", "", "", "", when, "2026-01-05")


def _scores(raw: dict[str, list[float]], defect: list[bool]) -> ValidationScores:
    samples = tuple(_sample(number, flag) for number, flag in enumerate(defect))
    arrays = {name: np.array(values) for name, values in raw.items()}
    return ValidationScores(samples, arrays, np.zeros((len(defect), 1), np.float32))


def test_test_images_cannot_pass_as_validation() -> None:
    with pytest.raises(LeakError, match="is of test, not of validation"):
        ValidationScores((_sample(1, True, "test"),), {}, np.zeros((1, 1), np.float32))
    with pytest.raises(LeakError, match="is of validation, not of test"):
        TestScores((_sample(1, True),), {}, np.zeros((1, 1), np.float32))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-1e4, 1e4), st.booleans()), min_size=2, max_size=40).filter(
        lambda rows: len({flag for _, flag in rows}) == 2
    )
)
def test_platt_is_finite_and_never_falls_with_the_score(rows: list[tuple[float, bool]]) -> None:
    raw, defect = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    platt = fit_platt(raw, defect)
    assert isfinite(platt.slope)
    assert isfinite(platt.intercept)
    assert platt.slope >= 0


def test_platt_recovers_a_known_curve() -> None:
    random = np.random.default_rng(1)
    raw = random.normal(0, 2, 20_000)
    defect = random.random(20_000) < 1 / (1 + np.exp(-(1.5 * raw - 1)))
    platt = fit_platt(raw, defect)
    assert platt.slope == pytest.approx(1.5, rel=0.05)
    assert platt.intercept == pytest.approx(-1, rel=0.1)


def test_few_separable_images_do_not_give_certainty() -> None:
    raw = np.array([0.0, 0.1, 0.2, 5.0, 5.1])
    platt = fit_platt(raw, raw > 1)
    certain = 1 / (1 + np.exp(-(platt.slope * raw + platt.intercept)))
    assert certain.min() > 0.1
    assert certain.max() < 0.9


def test_fusion_prefers_the_model_that_knows_and_has_no_negative_weight() -> None:
    random = np.random.default_rng(2)
    defect = random.random(400) < 0.5
    knows = np.where(defect, 1.5, -1.5) + random.normal(0, 1, 400)
    wrong = np.where(defect, -0.5, 0.5) + random.normal(0, 1, 400)
    weights, _ = fit_fusion(np.stack([knows, wrong], axis=1), defect)
    assert weights[0] > 0.5
    assert weights[1] == 0


def test_without_defects_most_good_parts_pass_and_the_rest_is_not_passed() -> None:
    raw = list(np.linspace(0, 1, 200))
    fitted = fit(_scores({"anomaly": raw, "segmenter": raw}, [False] * 200), COSTS)
    p_defect = probabilities(fitted, {name: np.array([*raw, 50.0]) for name in fitted.weights})
    passed = p_defect <= fitted.thresholds.pass_below
    assert 0.94 < passed[:200].mean() < 0.96
    assert p_defect[200] >= fitted.thresholds.fail_above
    assert "lacks defects" in fitted.warnings[0]


def test_without_defects_synthetic_ones_say_which_model_sees_more() -> None:
    random = np.random.default_rng(3)
    good = {name: random.normal(0, 1, 200) for name in ("anomaly", "classifier")}
    synthetic = {"anomaly": random.normal(4, 1, 50), "classifier": random.normal(0, 1, 50)}
    scores = _scores({name: list(raw) for name, raw in good.items()}, [False] * 200)
    fitted = fit(scores, COSTS, synthetic=synthetic)
    assert fitted.weights["anomaly"] > 3 * fitted.weights["classifier"]
    passed = probabilities(fitted, good) <= fitted.thresholds.pass_below
    assert 0.94 < passed.mean() < 0.96
    held = (probabilities(fitted, synthetic) > fitted.thresholds.pass_below).mean()
    assert held > 0.9
    assert f"Of 50 synthetic anomalies {held:.0%} do not pass" in fitted.warnings[0]
    assert "weights were fitted on them" in fitted.warnings[0]


def test_synthetic_anomalies_change_nothing_where_there_are_real_ones() -> None:
    raw, defect = {"anomaly": [0.0, 1.0, 2.0, 3.0]}, [False, False, True, True]
    synthetic = {"anomaly": np.array([9.0])}
    assert fit(_scores(raw, defect), COSTS, synthetic=synthetic) == fit(_scores(raw, defect), COSTS)


def test_a_model_that_knows_nothing_is_said() -> None:
    fitted = fit(_scores({"anomaly": [3.0, 2.0, 1.0, 0.0]}, [False, False, True, True]), COSTS)
    assert fitted.calibration["anomaly"].slope == 0
    assert any("does not tell" in warning for warning in fitted.warnings)
