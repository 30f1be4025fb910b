"""The gate holds back what is slower, inexact or not what was measured, and says by how much."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import tiny_line
from hypothesis import given
from hypothesis import strategies as st
from tiny_line import Tiny

from ml import files
from ml.bundle import load_bundle, seal_bundle
from ml.data.dataset import load_dataset
from ml.evaluation import latency as timing
from ml.evaluation import metrics
from ml.evaluation.compare import paired, unseen_by
from ml.evaluation.gate import Judgement, judge
from ml.evaluation.intervals import bootstrap_weights, exact_interval
from ml.evaluation.scores import TestScores
from ml.inference.engine import Inspector
from ml.settings import LineConfig


@pytest.fixture
def first(tiny: Tiny) -> str:
    return tiny.evaluate().name


def _judge(tiny: Tiny, name: str, **limits: Any) -> Judgement:
    line = _with(tiny.line, **limits)
    return judge(tiny.env, tiny.home, line, load_bundle(tiny.home, name))


def _with(line: LineConfig, **limits: Any) -> LineConfig:
    return line.model_copy(update={"gate": line.gate.model_copy(update=limits)})


def _make_live(tiny: Tiny, name: str) -> None:
    record = {"line": "tiny", "bundle": name, "previous": None, "number": 1}
    files.write_json(tiny.home.live("tiny"), record)


def _changed(tiny: Tiny, name: str, change: Callable[[Any], None]) -> str:
    """A bundle like another, changed and sealed again by its owner."""
    draft = tiny.home.bundle(".draft-changed")
    shutil.copytree(tiny.home.bundle(name), draft)
    change(draft)
    return seal_bundle(tiny.home, draft).name


def _change_card(draft: Any, **facts: Any) -> None:
    card = files.read_json(draft / "card.json")
    files.write_json(draft / "card.json", card | facts)


def _said(judgement: Judgement, pattern: str) -> bool:
    return any(re.search(pattern, reason) for reason in judgement.reasons)


def test_a_good_first_bundle_passes_and_every_check_is_said(tiny: Tiny, first: str) -> None:
    judgement = _judge(tiny, first, max_latency_ms=60_000.0)
    assert judgement.promote
    assert _said(judgement, r"^validation had 20 groups with defects and 40 good ones$")
    assert _said(judgement, r"^test had 20 groups with defects and 40 good ones$")
    card = load_bundle(tiny.home, first).card
    assert _said(
        judgement, r"^AUROC [\d.]+ \(95 % interval .* 60 test groups\) reaches the minimum"
    )
    (rates,) = (one for one in judgement.reasons if one.startswith("shares of the test images"))
    words = {
        "escape": "defective images passed",
        "overkill": "good images failed",
        "review_rate": "held for review",
    }
    for name, said in words.items():
        found = card.metrics[f"fused.{name}"]
        interval = f"95 % interval {found.low:.4f} to {found.high:.4f}, {found.n} test groups"
        assert f"{said} {found.value:.4f} ({interval})" in rates
    assert _said(judgement, r"sealed models give the measured scores \(60 images")
    assert _said(judgement, r"^\d+\.\d ms an image$")
    assert _said(judgement, "no champion yet")


@pytest.mark.parametrize(("split", "least"), [("validation", 0), ("validation", 4), ("test", 4)])
def test_too_few_groups_of_a_kind_are_left_to_a_person(
    tiny: Tiny, first: str, split: str, least: int
) -> None:
    card = files.read_json(tiny.home.bundle(first) / "card.json")
    if split == "test":
        card["metrics"]["fused.overkill"]["n"] = least
    else:
        card["thresholds"]["rates"]["escape"]["n"] = least
    small = _changed(tiny, first, lambda draft: files.write_json(draft / "card.json", card))
    judgement = _judge(tiny, small)
    assert not judgement.promote
    assert _said(judgement, f"{split} had .*{least} g.* below `gate.min_groups`, 5; a person must")
    assert _judge(tiny, small, min_groups=max(least, 1)).promote == (least > 0)


def test_an_old_card_that_counts_no_groups_is_left_to_a_person(tiny: Tiny, first: str) -> None:
    card = files.read_json(tiny.home.bundle(first) / "card.json")
    card["thresholds"]["rates"] = {}
    old = _changed(tiny, first, lambda draft: files.write_json(draft / "card.json", card))
    judgement = _judge(tiny, old)
    assert not judgement.promote
    assert _said(judgement, "does not say how many groups validation had; evaluate again")


@pytest.mark.parametrize(
    ("escapes", "passes", "said"),
    [
        (0, True, r"0 escape .*20 groups\); the ceiling is 100,000$"),
        (3, True, r"150,000 escape \(95 % interval 32,071 to 378,927, "),
        (8, False, r"400,000 escape .* the ceiling is 100,000: above it beyond doubt"),
        (None, False, "no escape rate of test groups; evaluate again"),
    ],
)
def test_escapes_on_test_are_held_against_the_ceiling(
    tiny: Tiny, first: str, escapes: int | None, passes: bool, said: str
) -> None:
    card = files.read_json(tiny.home.bundle(first) / "card.json")
    card["thresholds"]["ceiling"] = {
        "max_escape_ppm": 100_000, "confidence": 0.95, "groups": 60, "escapes": 2, "bound_ppm": 1,
    }  # fmt: skip
    if escapes is not None:
        low, high = exact_interval(escapes, 20)
        found = {"value": escapes / 20, "low": low, "high": high, "n": 20}
        card["metrics"]["fused.escaped_groups"] = found
    bundle = _changed(tiny, first, lambda draft: files.write_json(draft / "card.json", card))
    judgement = _judge(tiny, bundle)
    assert judgement.promote == passes
    assert _said(judgement, said)


def test_parts_that_the_champion_saw_under_another_group_are_left_out(
    tiny: Tiny, first: str
) -> None:
    """Every pair of the champion's training images is a test group, renamed; one image is new."""
    rows = pq.read_table(tiny.home.dataset("tiny", tiny_line.DATASET)).to_pylist()
    trained = [row for row in rows if row["split"] == "train"]
    for number, row in enumerate(trained):
        row |= {"split": "test", "group": f"joined{number // 2}"}
        row["sha256"] = f"{number:064x}" if number % 2 else row["sha256"]
    tested = [row for row in rows if row["split"] == "test"]
    tiny_line.write_dataset(tiny.home, "tiny", tested, "later")
    samples = load_dataset(tiny.home, "tiny", "later").samples
    scores = TestScores(samples, {}, np.zeros((len(samples), 1), np.float32))
    fair, notes = unseen_by(tiny.home, tiny.line, load_bundle(tiny.home, first), scores)
    assert (len(fair), fair.sum()) == (120, 60)
    assert not any(fair[np.char.startswith(scores.groups, "joined")])
    assert notes == ["30 test groups left out: the champion has seen them"]


def test_too_few_groups_that_the_champion_has_not_seen_are_left_to_a_person(
    tiny: Tiny, first: str
) -> None:
    rows = pq.read_table(tiny.home.dataset("tiny", tiny_line.DATASET)).to_pylist()
    defects = [row for row in rows if row["split"] == "test" and row["label"] == "defect"]
    for row in defects[4:]:
        row["split"] = "train"
    tiny_line.write_dataset(tiny.home, "tiny", rows, "earlier")
    champion = _changed(tiny, first, lambda draft: _change_card(draft, dataset="earlier"))
    _make_live(tiny, champion)
    judgement = _judge(tiny, first)
    assert not judgement.promote
    assert _said(judgement, "on 4 groups with defects and 40 good ones, below `gate.min_groups`, 5")
    assert _judge(tiny, first, min_groups=4).promote


def test_parity_above_the_limit_is_refused_by_name(tiny: Tiny, first: str) -> None:
    card = files.read_json(tiny.home.bundle(first) / "card.json")
    models = card["models"] | {"anomaly": card["models"]["anomaly"] | {"parity": 2e-3}}
    inexact = _changed(tiny, first, lambda draft: _change_card(draft, models=models))
    judgement = _judge(tiny, inexact)
    assert not judgement.promote
    assert _said(judgement, r"torch and ONNX differ .* anomaly 2\.0e-03")
    assert _judge(tiny, inexact, max_parity=1e-2).promote


@pytest.mark.parametrize("model", ["classifier", "segmenter", "anomaly"])
def test_models_other_than_those_measured_are_refused(tiny: Tiny, first: str, model: str) -> None:
    import onnx

    def exchange(draft: Any) -> None:
        onnx.save(tiny_line.ONNX[model](41.0), draft / f"{model}.onnx")

    exchanged = _changed(tiny, first, exchange)
    judgement = _judge(tiny, exchanged)
    assert not judgement.promote
    assert _said(judgement, r"sealed models differ by \d\.\de[+-]\d\d from the scores")


def test_a_reference_without_scores_is_refused(tiny: Tiny, first: str) -> None:
    def forget(draft: Any) -> None:
        path = draft / "reference.parquet"
        table = pq.read_table(path)
        nothing = pa.nulls(table.num_rows, pa.float64())
        at = table.column_names.index("score_anomaly")
        pq.write_table(table.set_column(at, "score_anomaly", nothing), path)

    def empty(draft: Any) -> None:
        path = draft / "reference.parquet"
        table = pq.read_table(path)
        pq.write_table(table.filter(pc.equal(table["split"], "validation")), path)

    assert not _judge(tiny, _changed(tiny, first, forget)).promote
    judgement = _judge(tiny, _changed(tiny, first, empty))
    assert not judgement.promote
    assert _said(judgement, "no test image")


def test_a_bundle_that_is_too_slow_is_refused(tiny: Tiny, first: str) -> None:
    judgement = _judge(tiny, first, max_latency_ms=1e-4)
    assert not judgement.promote
    assert _said(judgement, r"ms an image: above `gate\.max_latency_ms`, 0\.0001")


def test_a_bundle_much_slower_than_the_champion_is_refused(
    tiny: Tiny, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = _changed(tiny, first, lambda draft: _change_card(draft, code="slow"))
    _make_live(tiny, first)
    inspect = Inspector.inspect

    def slower(self: Inspector, images: Any) -> Any:
        for _ in range(20 if self.bundle.name == slow else 0):
            inspect(self, images)
        return inspect(self, images)

    monkeypatch.setattr(Inspector, "inspect", slower)
    judgement = _judge(tiny, slow)
    assert not judgement.promote
    assert _said(judgement, r"ms an image against the champion's .*above `gate\.max_slowdown`, 3")
    assert _judge(tiny, slow, max_slowdown=1000.0).promote


def test_a_repeated_gate_says_the_same_and_measures_once(
    tiny: Tiny, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = _changed(tiny, first, lambda draft: _change_card(draft, code="other"))
    _make_live(tiny, first)
    judgement = _judge(tiny, other)

    def measured(*_: object) -> list[float]:
        return [1.0, 1.0]

    monkeypatch.setattr(timing, "_medians", measured)
    assert _judge(tiny, other) == judgement
    elsewhere = replace(tiny, env=replace(tiny.env, threads=2))
    assert _said(_judge(elsewhere, other), "1.0 ms an image against the champion's 1.0 ms")


def test_both_differences_are_said_with_their_intervals(tiny: Tiny, first: str) -> None:
    line = tiny.line.model_copy(update={"seed": 5})
    tiny_line.write_runs(tiny.home, line, gain=-40.0)
    worse = replace(tiny, line=line).evaluate().name
    _make_live(tiny, first)
    judgement = _judge(tiny, worse, min_auroc=0.0)
    assert not judgement.promote
    interval = r"difference -\d\.\d{4}, 95 % interval -\d\.\d{4} to -\d\.\d{4}\)"
    assert _said(judgement, r"AUROC .* on 60 images \(" + interval + ": a drop of more than 0.01")
    assert _said(judgement, r"cost an image .* interval \+\d.*: higher beyond doubt")
    _make_live(tiny, worse)
    better = _judge(tiny, first)
    assert better.promote
    assert _said(better, r"AUROC 1\.0000 .*interval \+\d")


@given(seed=st.integers(0, 1000), gain=st.floats(0.1, 3.0))
def test_a_paired_difference_of_equal_scores_is_exactly_nothing(seed: int, gain: float) -> None:
    random = np.random.default_rng(seed)
    positive = np.arange(60) % 3 == 0
    scores = random.normal(size=60) + positive
    weights = bootstrap_weights([f"g{i // 2}" for i in range(60)], seed, 50)
    # A rising function of a score ranks as it does.
    both = [metrics.auroc(one, positive, weights) for one in (scores, gain * scores + 1)]
    found = paired(both[0], both[1], enough=True)
    assert (found.value, found.interval) == (0.0, (0.0, 0.0))


def test_a_paired_difference_is_surer_than_two_intervals() -> None:
    random = np.random.default_rng(3)
    positive = np.arange(200) % 2 == 0
    scores = random.normal(size=200) + positive
    weights = bootstrap_weights([str(i) for i in range(200)], 1, 500)
    old = metrics.auroc(scores, positive, weights)
    new = metrics.auroc(scores + 0.2 * positive, positive, weights)
    found = paired(new, old, enough=True)
    assert found.interval is not None
    assert 0 < found.interval[0] < found.value < found.interval[1]
    # Their own intervals overlap.
    assert np.percentile(old[1:], 97.5) > np.percentile(new[1:], 2.5)
    assert paired(new, old, enough=False).interval is None


def test_a_champion_that_cannot_read_deep_images_is_left_to_a_person(
    tiny: Tiny, first: str
) -> None:
    _make_live(tiny, first)
    dataset = tiny.home.dataset("tiny", tiny_line.DATASET)
    for row in pq.read_table(dataset).to_pylist():
        path = tiny.home.object(row["sha256"])
        pixels = cv2.imread(str(path)).astype(np.uint16) * 16
        path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    files.write_json(dataset.with_suffix(".json"), {"counts": {}, "bits": 12})
    line = tiny.line.model_copy(update={"seed": 9})
    tiny_line.write_runs(tiny.home, line)
    second = replace(tiny, line=line).evaluate().name
    judgement = _judge(tiny, second)
    assert not judgement.promote
    assert _said(judgement, "champion cannot read some of these images.*`source.bits`.*a person")


def test_a_champion_of_other_bits_is_compared_where_that_changes_nothing(
    tiny: Tiny, first: str
) -> None:
    _make_live(tiny, _changed(tiny, first, lambda draft: _change_card(draft, bits=12)))
    assert _said(_judge(tiny, first), "AUROC .* against the champion's")
