"""Calibration, fusion and thresholds: properties that verdicts rest on."""

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from typing import Any

import numpy as np
import pytest
import tiny_line
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.bundle.card import Platt
from ml.data.dataset import Sample
from ml.errors import DataError, LeakError
from ml.evaluation.calibrate import expected_above, fit, probabilities
from ml.evaluation.logistic import fit_fusion, fit_platt
from ml.evaluation.scores import TestScores, ValidationScores
from ml.settings.line import CostsConfig

COSTS = CostsConfig()


def _sample(number: int, defect: bool, split: str = "validation") -> Sample:
    label = "defect" if defect else "ok"
    when = tiny_line.datetime(2026, 1, 5)
    return Sample(str(number), split, str(number), label, "", "", "", "", "", when, "2026-01-05")


def _scores(
    raw: dict[str, Any], defect: Any, groups: Sequence[str] | None = None
) -> ValidationScores:
    names = groups or [str(number) for number in range(len(defect))]
    samples = tuple(
        replace(_sample(number, bool(flag)), group=name)
        for number, (flag, name) in enumerate(zip(defect, names, strict=True))
    )
    arrays = {name: np.array(values) for name, values in raw.items()}
    return ValidationScores(samples, arrays, np.zeros((len(defect), 1), np.float32))


def _platt(raw: Any, defect: Any, groups: Sequence[str] | None = None) -> Platt:
    return fit_platt(_scores({"anomaly": raw}, defect, groups), "anomaly")


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
    platt = _platt([row[0] for row in rows], [row[1] for row in rows])
    assert isfinite(platt.slope)
    assert isfinite(platt.intercept)
    assert platt.slope >= 0


def test_platt_recovers_a_known_curve() -> None:
    random = np.random.default_rng(1)
    raw = random.normal(0, 2, 20_000)
    defect = random.random(20_000) < 1 / (1 + np.exp(-(1.5 * raw - 1)))
    platt = _platt(raw, defect)
    assert platt.slope == pytest.approx(1.5, rel=0.05)
    assert platt.intercept == pytest.approx(-1, rel=0.1)


def test_few_separable_images_do_not_give_certainty() -> None:
    raw = np.array([0.0, 0.1, 0.2, 5.0, 5.1])
    platt = _platt(raw, raw > 1)
    certain = 1 / (1 + np.exp(-(platt.slope * raw + platt.intercept)))
    assert certain.min() > 0.1
    assert certain.max() < 0.9


def test_fusion_prefers_the_model_that_knows_and_has_no_negative_weight() -> None:
    random = np.random.default_rng(2)
    defect = random.random(400) < 0.5
    knows = np.where(defect, 1.5, -1.5) + random.normal(0, 1, 400)
    wrong = np.where(defect, -0.5, 0.5) + random.normal(0, 1, 400)
    as_they_are = {name: Platt(slope=1, intercept=0) for name in ("knows", "wrong")}
    weights, _ = fit_fusion(_scores({"knows": knows, "wrong": wrong}, defect), as_they_are)
    assert weights["knows"] > 0.5
    assert weights["wrong"] == 0


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


@pytest.mark.parametrize("score", [0.0, 0.1, 7.0])
def test_a_model_that_always_says_the_same_is_said_and_knows_nothing(score: float) -> None:
    defect = np.arange(40) >= 30
    fitted = fit(_scores({"anomaly": np.full(40, score)}, defect), COSTS)
    assert any("does not tell" in warning for warning in fitted.warnings)
    p_defect = probabilities(fitted, {"anomaly": np.array([score, score + 5])})
    assert p_defect[0] == p_defect[1] == pytest.approx(0.25, abs=0.03)


def test_no_fit_takes_test_scores() -> None:
    samples = tuple(_sample(number, number % 2 == 0, "test") for number in range(8))
    scores = TestScores(samples, {"anomaly": np.arange(8.0)}, np.zeros((8, 1), np.float32))
    with pytest.raises(LeakError, match="not TestScores"):
        fit_platt(scores, "anomaly")  # type: ignore[arg-type]
    with pytest.raises(LeakError, match="not TestScores"):
        fit_fusion(scores, {})  # type: ignore[arg-type]


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 12), st.integers(0, 1000))
def test_exposures_of_a_part_are_one_fact(exposures: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    raw = {name: random.normal(size=30) for name in ("anomaly", "classifier")}
    defect = np.arange(30) < 8
    once = fit(_scores(raw, defect), COSTS)
    groups = [str(number // exposures) for number in range(30 * exposures)]
    many = {name: np.repeat(values, exposures) for name, values in raw.items()}
    again = fit(_scores(many, np.repeat(defect, exposures), groups), COSTS)
    for name in raw:
        assert again.calibration[name].slope == pytest.approx(
            once.calibration[name].slope, abs=1e-3
        )
    p = [probabilities(one, raw) for one in (once, again)]
    assert p[1] == pytest.approx(p[0], abs=1e-3)


def test_few_groups_of_many_exposures_do_not_make_it_sure() -> None:
    """The escapes of new parts, over lines whose exposures hardly differ."""
    random = np.random.default_rng(6)
    escapes = []
    for _ in range(30):
        level = np.r_[random.normal(3, 1, 3), random.normal(0, 1, 40)]
        raw = np.repeat(level, 20) + random.normal(0, 0.3, 860)
        groups = [str(number // 20) for number in range(860)]
        fitted = fit(_scores({"anomaly": raw}, np.arange(860) < 60, groups), COSTS)
        new = probabilities(fitted, {"anomaly": random.normal(3, 1, 2000)})
        escapes.append((new <= fitted.thresholds.pass_below).mean())
    assert np.mean(escapes) < 0.02
    assert np.quantile(escapes, 0.9) < 0.05


def test_a_score_that_is_no_number_is_refused_with_its_part() -> None:
    raw = {"classifier": np.arange(20.0), "anomaly": np.arange(20.0)}
    for wrong in (np.nan, np.inf):
        raw["anomaly"][7] = wrong
        for defects in (0, 6):
            scores = _scores(raw, np.arange(20) < defects)
            named = tuple(replace(one, part=f"p{one.sha256}") for one in scores.samples)
            scores = ValidationScores(named, scores.raw, scores.embeddings)
            with pytest.raises(DataError, match=r"anomaly gives 1 of 20 .*: p7 \(image 7\)"):
                fit(scores, COSTS)


@pytest.mark.parametrize(("defects", "said"), [(1, "up to 95%"), (5, "up to 45%"), (28, "10%")])
def test_few_defective_groups_are_counted_with_what_they_cannot_rule_out(
    defects: int, said: str
) -> None:
    raw = np.r_[np.full(defects, 5.0), np.linspace(0, 1, 40)]
    fitted = fit(_scores({"anomaly": raw}, np.arange(len(raw)) < defects), COSTS)
    (warning,) = [one for one in fitted.warnings if "with defects in validation" in one]
    assert f"in validation: {defects}." in warning
    assert said in warning
    assert "takes 29" in warning
    assert not any(one.startswith("Good groups") for one in fitted.warnings)


def test_groups_are_counted_not_images_and_enough_of_them_are_not_warned_of() -> None:
    raw, defect = np.r_[np.full(60, 5.0), np.linspace(0, 1, 60)], np.arange(120) < 60
    halves = [str(number // 2) for number in range(120)]
    assert not fit(_scores({"anomaly": raw}, defect, halves), COSTS).warnings
    thirds = [str(number // 3) for number in range(120)]
    warnings = fit(_scores({"anomaly": raw}, defect, thirds), COSTS).warnings
    assert [one.split(".")[0] for one in warnings] == [
        "Groups with defects in validation: 20",
        "Good groups in validation: 20",
    ]


@pytest.mark.parametrize("count", [5, 20, 200])
def test_the_share_of_new_good_parts_above_the_quantile_is_as_said(count: int) -> None:
    random = np.random.default_rng(7)
    above = [
        (random.random(50) > np.quantile(random.random(count), 0.95)).mean() for _ in range(2000)
    ]
    assert expected_above(count) == pytest.approx(np.mean(above), abs=0.015)
    scores = _scores(
        {"anomaly": random.random(2 * count)},
        [False] * 2 * count,
        [str(number // 2) for number in range(2 * count)],
    )
    said = fit(scores, COSTS).warnings[0]
    assert (
        f"of {2 * count} good images of {count} groups, so about {expected_above(count):.0%}"
        in said
    )


@settings(max_examples=40, deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(2, 1e4), st.integers(1, 3), st.booleans())
def test_good_images_of_equal_scores_pass_though_figures_are_rounded(
    level: float, escape: float, models: int, with_synthetic: bool
) -> None:
    names = ("anomaly", "classifier", "segmenter")[:models]
    raw = {name: np.full(10, level + number) for number, name in enumerate(names)}
    synthetic = {name: values + 5 for name, values in raw.items()} if with_synthetic else None
    costs = CostsConfig(escape=escape)
    fitted = fit(_scores(raw, [False] * 10), costs, synthetic=synthetic)
    assert (probabilities(fitted, raw) <= fitted.thresholds.pass_below).all()
    assert not any(warning.startswith("Only") for warning in fitted.warnings)


def test_that_hardly_any_good_image_passes_is_said() -> None:
    raw = np.r_[np.linspace(0, 1, 40), np.linspace(0.1, 1.1, 20)]
    fitted = fit(_scores({"anomaly": raw}, np.arange(60) >= 40), CostsConfig(escape=1000))
    assert any(warning.startswith("Only 0 of 40 good") for warning in fitted.warnings)
