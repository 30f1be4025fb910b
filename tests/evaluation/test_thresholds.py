"""Thresholds: they follow the costs, and a ceiling on escapes is kept or plainly refused."""

from datetime import datetime

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ml.data.dataset import Sample
from ml.errors import DataError, LeakError
from ml.evaluation.calibrate import fit, held_out, probabilities
from ml.evaluation.intervals import upper_bound
from ml.evaluation.scores import TestScores, ValidationScores
from ml.evaluation.thresholds import (
    CONFIDENCE,
    allowed_escapes,
    chow,
    escaped_groups,
    groups_needed,
    require_groups,
    under_ceiling,
)
from ml.settings.line import CostsConfig

COSTS = CostsConfig()
MONEY = st.floats(0.01, 1e4)
DAY = datetime(2026, 1, 5)


def _sample(number: int, group: str, defect: bool, split: str = "validation") -> Sample:
    label = "defect" if defect else "ok"
    return Sample(str(number), split, group, label, "", "", "", "", "", DAY, "2026-01-05")


def _scores(raw: dict[str, np.ndarray], groups: list[str], defect: np.ndarray) -> ValidationScores:
    rows = enumerate(zip(groups, defect, strict=True))
    samples = tuple(_sample(number, group, bool(bad)) for number, (group, bad) in rows)
    return ValidationScores(samples, raw, np.zeros((len(samples), 1), np.float32))


def _draw(random: np.random.Generator, count: int, models: int) -> ValidationScores:
    """`count` defective groups of two exposures and as many good ones of one."""
    groups = [f"d{number // 2}" for number in range(2 * count)]
    groups += [f"g{number}" for number in range(count)]
    defect = np.arange(3 * count) < 2 * count
    part = np.r_[np.repeat(random.normal(0, 1, count), 2), random.normal(0, 1, count)]
    raw = {
        name: part + random.normal(0, 1, 3 * count) + 1.5 * defect
        for name in ("classifier", "segmenter", "anomaly")[:models]
    }
    return _scores(raw, groups, defect)


def test_thresholds_are_where_the_costs_cross() -> None:
    found = chow(COSTS)
    assert found.pass_below * COSTS.escape == pytest.approx(COSTS.review)
    assert (1 - found.fail_above) * COSTS.overkill == pytest.approx(COSTS.review)


def test_when_review_never_pays_both_thresholds_meet() -> None:
    found = chow(CostsConfig(escape=1, overkill=1, review=0.9))
    assert found.pass_below == found.fail_above == pytest.approx(0.5)


@given(MONEY, MONEY, MONEY, st.floats(1, 100))
def test_thresholds_move_one_way_with_each_cost(
    escape: float, overkill: float, review: float, more: float
) -> None:
    assume(review < min(escape, overkill))
    found = chow(CostsConfig(escape=escape, overkill=overkill, review=review))
    dear_escape = chow(CostsConfig(escape=escape * more, overkill=overkill, review=review))
    dear_overkill = chow(CostsConfig(escape=escape, overkill=overkill * more, review=review))
    cheap_review = chow(CostsConfig(escape=escape, overkill=overkill, review=review / more))
    slack = 1 + 1e-9
    assert found.pass_below <= found.fail_above
    assert dear_escape.pass_below <= found.pass_below * slack
    assert dear_overkill.fail_above * slack >= found.fail_above
    assert cheap_review.pass_below <= found.pass_below * slack
    assert cheap_review.fail_above * slack >= found.fail_above


@given(st.integers(5, 400), st.floats(1e3, 5e5))
def test_as_many_escapes_are_allowed_as_the_exact_bound_bears(groups: int, ppm: float) -> None:
    from scipy.stats import binomtest

    assume(groups >= groups_needed(ppm))
    allowed = allowed_escapes(groups, ppm)

    def bound(escapes: int) -> float:
        test = binomtest(escapes, groups, alternative="less")
        return float(test.proportion_ci(0.95, method="exact").high)

    assert upper_bound(allowed, groups, CONFIDENCE) == pytest.approx(bound(allowed))
    assert bound(allowed) <= ppm / 1e6 * (1 + 1e-9)
    assert bound(allowed + 1) > ppm / 1e6 * (1 - 1e-9)


@given(st.floats(10, 5e5))
def test_one_group_fewer_than_needed_is_refused(ppm: float) -> None:
    needed = groups_needed(ppm)
    assert allowed_escapes(needed, ppm) == 0
    assert needed <= 3 / (ppm / 1e6) + 1, "the rule of three is an upper estimate"
    with pytest.raises(DataError, match=f"takes {needed} independent defective groups"):
        allowed_escapes(needed - 1, ppm)


def test_a_refusal_names_the_key_and_both_numbers() -> None:
    samples = [_sample(number, str(number // 2), number < 18) for number in range(40)]
    asked = CostsConfig(max_escape_ppm=5000)
    with pytest.raises(DataError, match=r"`costs\.max_escape_ppm` is 5000: .* 598 .* are 9"):
        require_groups(samples, asked)
    require_groups(samples, COSTS)
    good = _scores({"anomaly": np.arange(9.0)}, list("abcdefghi"), np.zeros(9, bool))
    with pytest.raises(DataError, match="there are 0"):
        fit(good, asked)


def test_the_ceiling_holds_as_often_as_its_confidence_says() -> None:
    random = np.random.default_rng(11)
    groups = 60
    names = [str(number // 2) for number in range(2 * groups)]
    broken, rates = 0, []
    for _ in range(1000):
        # A group escapes when the lower of its two exposures passes: below t that is 2t - t².
        drawn = random.random(2 * groups)
        scores = _scores({"anomaly": drawn}, names, np.ones(2 * groups, bool))
        threshold = under_ceiling(chow(COSTS), 100_000, scores, drawn).pass_below
        rates.append(2 * threshold - threshold**2)
        broken += rates[-1] > 0.1
    assert broken <= 65, "1000 draws at 95 %: 50, and 2 standard deviations"
    assert np.mean(rates) > 0.03, "a threshold that passes nothing would hold as well"


def test_the_ceiling_holds_for_a_fusion_that_was_fitted_on_the_same_groups() -> None:
    random = np.random.default_rng(12)
    asked, trials = CostsConfig(max_escape_ppm=150_000), 40
    many = _draw(random, 4000, 3)
    broken = 0
    for _ in range(trials):
        fitted = fit(_draw(random, 40, 3), asked)
        passed = probabilities(fitted, many.raw)[:8000] <= fitted.thresholds.pass_below
        broken += passed.reshape(-1, 2).any(axis=1).mean() > 0.15
    assert broken <= 5, "95 % of 40 draws, and 2 standard deviations"


@pytest.mark.parametrize("group", ["d0", "d7"])
def test_no_defect_is_judged_by_a_fit_that_saw_its_group(group: str) -> None:
    scores = _draw(np.random.default_rng(13), 20, 2)
    index = scores.groups.index(group)
    raw = {name: values.copy() for name, values in scores.raw.items()}
    raw["segmenter"][index + 1] -= 20
    changed = ValidationScores(scores.samples, raw, scores.embeddings)
    before, after = (held_out(fit(one, COSTS), one) for one in (scores, changed))
    assert after[index] == pytest.approx(before[index], abs=1e-9)
    fits = [probabilities(fit(one, COSTS), one.raw)[index] for one in (scores, changed)]
    assert abs(fits[0] - fits[1]) > 1e-3, "a fit that saw the group does change"


def test_a_higher_ceiling_passes_no_less_and_the_band_never_turns_over() -> None:
    scores = _draw(np.random.default_rng(14), 60, 2)
    found = [
        fit(scores, CostsConfig(max_escape_ppm=ppm)).thresholds
        for ppm in (60_000, 120_000, 250_000, 500_000)
    ]
    passes = [one.pass_below for one in found]
    assert passes == sorted(passes)
    assert passes[0] < passes[-1]
    assert all(one.pass_below <= one.fail_above for one in found)
    for one in found:
        assert one.fail_above == 1 - COSTS.review / COSTS.overkill
        assert one.ceiling is not None
        assert one.ceiling.groups == 60
        assert one.ceiling.bound_ppm <= one.ceiling.max_escape_ppm


def test_the_threshold_is_the_highest_that_keeps_the_ceiling() -> None:
    defect = np.r_[np.ones(60, bool), np.zeros(60, bool)]
    drawn = np.r_[np.linspace(0.2, 0.9, 60), np.linspace(0.01, 0.3, 60)]
    scores = _scores({"anomaly": drawn}, [str(number) for number in range(120)], defect)
    found = under_ceiling(chow(COSTS), 150_000, scores, drawn)
    assert found.ceiling is not None
    escapes = int((drawn[:60] <= found.pass_below).sum())
    assert escapes == found.ceiling.escapes == allowed_escapes(60, 150_000) == 4
    assert found.pass_below < drawn[4] < found.pass_below + 2e-6


def test_what_is_cheaper_to_fail_does_not_pass_though_the_ceiling_leaves_room() -> None:
    defect = np.r_[np.ones(20, bool), np.zeros(20, bool)]
    drawn = np.r_[np.full(20, 0.99), np.full(20, 0.01)]
    scores = _scores({"anomaly": drawn}, [str(number) for number in range(40)], defect)
    found = under_ceiling(chow(COSTS), 500_000, scores, drawn)
    assert found.pass_below == found.fail_above == 0.9


def test_thresholds_say_what_they_did_on_validation() -> None:
    scores = _draw(np.random.default_rng(15), 30, 2)
    fitted = fit(scores, COSTS)
    rates = fitted.thresholds.rates
    assert set(rates) == {"escape", "overkill", "review_rate"}
    assert (rates["escape"].n, rates["overkill"].n, rates["review_rate"].n) == (30, 30, 60)
    passed = probabilities(fitted, scores.raw)[scores.is_defect] <= fitted.thresholds.pass_below
    escape = rates["escape"]
    assert escape.value == pytest.approx(passed.mean(), abs=1e-4)
    assert escape.low is not None
    assert escape.high is not None
    assert escape.low <= escape.value < escape.high


def test_a_group_escapes_with_any_of_its_images() -> None:
    defect = np.r_[np.ones(40, bool), np.zeros(10, bool)]
    names = [str(number // 4) for number in range(40)] + ["good"] * 10
    p_defect = np.r_[np.full(40, 0.9), np.zeros(10)]
    p_defect[[0, 1, 17]] = 0.001
    found = escaped_groups(p_defect, chow(COSTS), _scores({"anomaly": p_defect}, names, defect))
    assert (found.value, found.n) == (0.2, 10)
    assert (found.low, found.high) == pytest.approx((0.02521, 0.55610), abs=1e-5)
    nothing = _scores({"anomaly": p_defect[40:]}, names[40:], defect[40:])
    assert escaped_groups(p_defect[40:], chow(COSTS), nothing).value is None


def test_test_scores_cannot_be_fitted_on() -> None:
    samples = tuple(_sample(number, str(number), number % 2 == 0, "test") for number in range(8))
    scores = TestScores(samples, {"anomaly": np.arange(8.0)}, np.zeros((8, 1), np.float32))
    with pytest.raises(LeakError, match="not TestScores"):
        fit(scores, COSTS)  # type: ignore[arg-type]


def test_validation_with_defects_only_is_refused() -> None:
    scores = _scores({"anomaly": np.arange(6.0)}, list("abcdef"), np.ones(6, bool))
    with pytest.raises(DataError, match="no good image"):
        fit(scores, COSTS)
