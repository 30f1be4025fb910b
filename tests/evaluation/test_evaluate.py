"""From finished runs to a champion, on a tiny line with real ONNX models."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
import tiny_line
from tiny_line import Tiny

from ml.audit import ledger
from ml.bundle import live_bundle
from ml.errors import BundleError, DataError, TrainingError
from ml.evaluation.evaluate import evaluate
from ml.evaluation.gate import judge
from ml.evaluation.promote import gate, promote
from ml.imaging import Pixels
from ml.inference.engine import Inspector
from ml.results import open_results
from ml.settings import Home, LineConfig
from ml.training.run import Run, run_name


def test_a_bundle_says_what_it_is_worth(tiny: Tiny) -> None:
    bundle = tiny.evaluate()
    metrics = bundle.card.metrics
    assert metrics["fused.auroc"].value == 1.0
    assert metrics["segmenter.pixel_auroc"].value == pytest.approx(1.0, abs=0.01)
    assert metrics["segmenter.dice"].value == pytest.approx(1.0, abs=0.05)
    assert metrics["segmenter.dice_macro"].value == metrics["segmenter.dice"].value
    assert metrics["anomaly.aupro"].value == pytest.approx(1.0, abs=0.02)
    assert (metrics["segmenter.missed"].value, metrics["segmenter.false_region"].value) == (0, 0)
    assert {metrics[f"{name}.pointing"].value for name in tiny.line.models} == {1.0}
    assert set(metrics) >= {"fused.escape", "fused.overkill", "fused.review_rate", "anomaly.ap"}
    assert {f"{name}.ece" for name in ("classifier", "segmenter", "anomaly", "fused")} <= set(
        metrics
    )
    assert 0 <= metrics["fused.ece"].value < 0.2
    assert set(bundle.card.thresholds.rates) == {"escape", "overkill", "review_rate"}
    assert bundle.card.thresholds.ceiling is None
    assert "random start" in bundle.card.warnings
    reference = pq.read_table(bundle.reference)
    assert set(reference["split"].to_pylist()) == {"test", "validation"}
    assert set(reference["camera"].to_pylist()) == {"north"}
    assert {"brightness", "embedding", "score_anomaly", "p_defect"} <= set(reference.column_names)


def test_a_tiled_segmenter_is_worth_as_much_and_inspects_as_it_was_measured(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = []

    def latency(run: Run, name: str, image: Pixels) -> float:
        timed.append((name, image.shape))
        return 1.0

    monkeypatch.setattr("ml.evaluation.evaluate._latency_ms", latency)
    name = run_name(tiny.line, tiny_line.DATASET, "segmenter", None)
    folder = tiny.home.training("tiny", name)
    onnx.save(tiny_line.segmenter_onnx(40.0, side=16), folder / "model.onnx")
    whole = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(whole | {"size": [16, 16], "tiled": True}))
    bundle = tiny.evaluate()
    assert bundle.card.models["segmenter"].tiled
    # Its time is that of a whole image, not of a tile.
    assert ("segmenter", (tiny_line.SIDE, tiny_line.SIDE, 3)) in timed
    assert bundle.card.metrics["segmenter.dice"].value == pytest.approx(1.0, abs=0.05)
    image = np.full((48, 80, 3), 100, np.uint8)
    image[20:30, 40:60, 0] = 190
    found = Inspector(bundle, 1).inspect([image])[0].scored
    assert found.defect_mask is not None
    assert np.array_equal(found.defect_mask, image[..., 0] == 190)


def test_the_same_inputs_give_the_same_bytes(tiny: Tiny) -> None:
    first = tiny.evaluate()
    shutil.rmtree(tiny.home.bundle("."))
    again = tiny.evaluate()
    assert again.name == first.name
    assert not list(tiny.home.bundle(".").glob(".draft-*"))


def test_a_repeated_evaluation_is_found_again(tiny: Tiny) -> None:
    first = evaluate(tiny.env, tiny.home, tiny.line, tiny_line.DATASET)
    written = first.report.stat().st_mtime_ns
    assert evaluate(tiny.env, tiny.home, tiny.line, tiny_line.DATASET) == first
    assert first.report.stat().st_mtime_ns == written


def test_the_report_is_one_file_with_pictures_and_warnings(tiny: Tiny) -> None:
    html = evaluate(tiny.env, tiny.home, tiny.line, tiny_line.DATASET).report.read_text()
    assert "random start" in html
    assert html.count("data:image/png;base64,") == 3
    assert html.count("data:image/jpeg;base64,") >= 12 * 4
    assert "Worst marked defects" in html
    assert "exposure" in html
    assert "too few groups" not in html
    assert "Reliability diagram of each model" in html
    assert "on validation, where the thresholds were chosen" in html
    assert "http://" not in html
    assert "https://" not in html


def test_few_defects_get_no_firm_figure_in_the_report(tiny: Tiny) -> None:
    samples = tiny_line.add_images(tiny.home, "tiny")
    tested = [row["sha256"] for row in samples if row["split"] == "test" and row["mask"]]
    few = [row for row in samples if row["sha256"] not in tested[4:]]
    tiny_line.write_dataset(tiny.home, "tiny", few, "few")
    tiny_line.write_runs(tiny.home, tiny.line, "few")
    found = evaluate(tiny.env, tiny.home, tiny.line, "few")
    assert "too few groups (4)" in found.report.read_text()
    assert found.bundle.card.metrics["segmenter.aupro"].low is None
    assert found.bundle.card.metrics["segmenter.false_region"].low is not None


def test_a_classifier_alone_is_shown_by_its_class_map(tmp_path: Path) -> None:
    env = tiny_line.make_env(tmp_path)
    home, line = Home(env.home), tiny_line.make_line(models=["classifier"])
    tiny_line.write_dataset(home, line.name, tiny_line.add_images(home, line.name))
    tiny_line.write_runs(home, line)
    found = evaluate(env, home, line, tiny_line.DATASET)
    metrics = found.bundle.card.metrics
    assert metrics["classifier.pointing"].value == 1.0
    assert {name.split(".")[0] for name in metrics} == {"classifier", "fused"}
    # Every defect is pointed at: there is nothing badly marked to show.
    html = found.report.read_text()
    assert "classifier yes" in html
    assert "Worst marked defects" not in html


def test_a_line_without_defects_gets_a_bundle_that_says_so(tmp_path: Path) -> None:
    env = tiny_line.make_env(tmp_path)
    home, line = Home(env.home), tiny_line.make_line(models=["anomaly"])
    samples = tiny_line.add_images(home, line.name, defects=False)
    tiny_line.write_dataset(home, line.name, samples)
    tiny_line.write_runs(home, line)
    card = evaluate(env, home, line, tiny_line.DATASET).bundle.card
    assert card.metrics["fused.auroc"].value is None
    assert card.metrics["fused.escape"].value is None
    (said,) = [warning for warning in card.warnings if "lacks defects" in warning]
    assert "no real defect was measured" in said
    assert "Of 60 synthetic anomalies" in said
    assert any("no defects" in warning for warning in card.warnings)
    assert not gate(env, home, line, _only_bundle(home)).promote


def test_a_backbone_that_the_anomaly_model_has_for_itself_is_on_the_card(tiny: Tiny) -> None:
    name = run_name(tiny.line, tiny_line.DATASET, "anomaly", None)
    path = tiny.home.training("tiny", name) / "result.json"
    result = json.loads(path.read_text())
    path.write_text(json.dumps(result | {"backbone": result["backbone"] | {"name": "dino"}}))
    made = evaluate(tiny.env, tiny.home, tiny.line, tiny_line.DATASET)
    models = made.bundle.card.models
    assert models["anomaly"].backbone is not None
    assert models["anomaly"].backbone.name == "dino"
    assert models["classifier"].backbone is None
    assert "anomaly (dino, weights: none)" in made.report.read_text()


def test_a_ceiling_on_escapes_is_on_the_card_with_its_evidence(tiny: Tiny) -> None:
    line = _with_ceiling(tiny, 200_000)
    made = evaluate(tiny.env, tiny.home, line, tiny_line.DATASET)
    found = made.bundle.card.thresholds
    assert found.ceiling is not None
    assert (found.ceiling.groups, found.ceiling.escapes) == (20, 0)
    tested = made.bundle.card.metrics["fused.escaped_groups"]
    assert (tested.value, tested.n) == (0.0, 20)
    judged = judge(tiny.env, tiny.home, line, made.bundle)
    assert any("the ceiling is 200,000" in reason for reason in judged.reasons)
    assert found.ceiling.bound_ppm == pytest.approx(1e6 * (1 - 0.05 ** (1 / 20)), abs=1)
    assert found.pass_below <= found.fail_above
    assert "0 of 20 independent defective groups" in made.report.read_text().replace("\n", " ")
    assert made.bundle.name != tiny.evaluate().name


def test_a_ceiling_that_validation_cannot_support_stops_before_any_scoring(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("ml.evaluation.evaluate.score")
    before = sorted(tiny.home.bundle(".").glob("*"))
    with pytest.raises(DataError, match=r"costs\.max_escape_ppm.* 598 .* there are 20"):
        evaluate(tiny.env, tiny.home, _with_ceiling(tiny, 5000), tiny_line.DATASET)
    assert sorted(tiny.home.bundle(".").glob("*")) == before


def test_an_untrained_model_and_an_empty_split_stop_with_a_clear_message(tiny: Tiny) -> None:
    with pytest.raises(TrainingError, match="not trained yet"):
        evaluate(tiny.env, tiny.home, tiny.line, "other")
    samples = [
        row for row in tiny_line.add_images(tiny.home, "tiny") if row["split"] != "validation"
    ]
    tiny_line.write_dataset(tiny.home, "tiny", samples, "partial")
    tiny_line.write_runs(tiny.home, tiny.line, "partial")
    with pytest.raises(DataError, match="no validation images"):
        evaluate(tiny.env, tiny.home, tiny.line, "partial")


def test_the_first_good_bundle_is_promoted_and_twice_changes_nothing(tiny: Tiny) -> None:
    name = tiny.evaluate().name
    store = open_results(tiny.env, tiny.home)
    judgement = gate(tiny.env, tiny.home, tiny.line, name)
    assert judgement.promote
    assert judgement.champion is None
    assert store.find("runs")[0]["decision"] == "waiting"
    first = promote(tiny.env, tiny.home, tiny.line, name, "somebody")
    before = _everything(tiny)
    assert promote(tiny.env, tiny.home, tiny.line, name, "somebody else") == first
    assert gate(tiny.env, tiny.home, tiny.line, name).promote
    assert _everything(tiny) == before
    live = live_bundle(tiny.home, "tiny")
    assert live is not None
    assert live.name == name
    assert store.find("runs")[0]["decision"] == "promoted"
    assert ledger.verify(tiny.home.ledger("tiny", "promotions")) == 1


def test_a_worse_challenger_is_kept_out(tiny: Tiny) -> None:
    promote(tiny.env, tiny.home, tiny.line, tiny.evaluate().name, "test")
    worse = _weaker_bundle(tiny)
    # The minimum alone would let it pass.
    lenient = tiny.line.model_copy(
        update={"gate": tiny.line.gate.model_copy(update={"min_auroc": 0.0})}
    )
    judgement = gate(tiny.env, tiny.home, lenient, worse)
    assert not judgement.promote
    assert any("drop of more than" in reason for reason in judgement.reasons)
    assert not gate(tiny.env, tiny.home, tiny.line, worse).promote


def test_an_altered_bundle_is_neither_judged_nor_promoted(tiny: Tiny) -> None:
    bundle = tiny.evaluate()
    path = bundle.model("anomaly")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    for step in (gate, lambda *args: promote(*args, "test")):
        with pytest.raises(BundleError, match="altered"):
            step(tiny.env, tiny.home, tiny.line, bundle.name)
    assert live_bundle(tiny.home, "tiny") is None


def test_a_ceiling_that_test_breaks_is_on_the_card_and_stops_the_gate(tiny: Tiny) -> None:
    samples = tiny_line.add_images(tiny.home, "tiny")
    defects = [row for row in samples if row["label"] == "defect"]
    good = [row for row in samples if row["label"] == "ok" and row["split"] == "train"]
    tested = [row for row in defects if row["split"] == "test"]
    # Twelve of twenty test defects do not show: their pictures are those of good parts.
    for row, other in zip(tested[:12], good, strict=False):
        row["sha256"] = other["sha256"]
    used = {row["sha256"] for row in tested}
    rows = [row for row in samples if row["label"] == "defect" or row["sha256"] not in used]
    tiny_line.write_dataset(tiny.home, "tiny", rows, "hidden")
    line = _with_ceiling(tiny, 200_000)
    tiny_line.write_runs(tiny.home, line, "hidden")
    bundle = evaluate(tiny.env, tiny.home, line, "hidden").bundle
    assert bundle.card.metrics["fused.escaped_groups"].value == pytest.approx(0.6)
    assert any("Above the ceiling on escapes" in one for one in bundle.card.warnings)
    lenient = line.model_copy(update={"gate": line.gate.model_copy(update={"min_auroc": 0.0})})
    judged = judge(tiny.env, tiny.home, lenient, bundle)
    assert not judged.promote
    assert any(reason.endswith("above it beyond doubt") for reason in judged.reasons)


def test_the_defect_types_of_failed_defects_are_counted(tiny: Tiny) -> None:
    name = run_name(tiny.line, tiny_line.DATASET, "classifier", None)
    path = tiny.home.training("tiny", name) / "result.json"
    result = json.loads(path.read_text())
    assert "classifier.type_accuracy" not in tiny.evaluate().card.metrics
    path.write_text(json.dumps(result | {"classes": ["ok", "red", "blue"]}))
    onnx.save(tiny_line.classifier_onnx(40.0, types=2), path.parent / "model.onnx")
    rows = pq.read_table(tiny.home.dataset("tiny", tiny_line.DATASET)).to_pylist()
    tested = [row for row in rows if row["split"] == "test" and row["label"] == "defect"]
    for row, kind in zip(tested, ["blue"] * 5 + [""] * 4, strict=False):
        row["defect_type"] = kind
    tiny_line.write_dataset(tiny.home, "tiny", rows)
    found = tiny.evaluate().card.metrics["classifier.type_accuracy"]
    # The classifier says red to all; four have no type to be right about.
    assert (found.value, found.n) == (pytest.approx(11 / 16, abs=1e-4), 16)
    assert found.low is not None
    assert found.low < 0.5


def _with_ceiling(tiny: Tiny, ppm: float) -> LineConfig:
    costs = tiny.line.costs.model_copy(update={"max_escape_ppm": ppm})
    return tiny.line.model_copy(update={"costs": costs})


def _only_bundle(home: Home) -> str:
    (index,) = home.bundle("index").glob("*.json")
    return str(json.loads(index.read_text())["bundle"])


def _weaker_bundle(tiny: Tiny) -> str:
    """A bundle of models that see the wrong way round, on the same dataset."""
    line = tiny.line.model_copy(update={"seed": 5})
    tiny_line.write_runs(tiny.home, line, gain=-40.0)
    return replace(tiny, line=line).evaluate().name


def _everything(tiny: Tiny) -> dict[str, object]:
    store = open_results(tiny.env, tiny.home)
    found: dict[str, object] = {name: store.find(name) for name in ("runs", "lines")}
    for path in (tiny.home.live("tiny"), tiny.home.ledger("tiny", "promotions")):
        found[path.name] = path.read_bytes()
    return found


def test_the_head_of_the_bundle_gives_the_logits(tiny: Tiny) -> None:
    from ml.inference.engine import open_models
    from ml.inference.explain import grad_cam, read_head

    bundle = tiny.evaluate()
    head = read_head(bundle)
    assert head is not None
    image = tiny_line.picture(np.random.default_rng(1), 90)
    (scored,) = open_models(bundle, 1).score([image])
    assert scored.features is not None
    # The map's sum is the logit without its bias (-0.5 in this model); class 0 is flat zero.
    logit = grad_cam(scored.features, head[1]).sum() - 0.5
    positive = np.tensordot(head[1], scored.features, axes=1).min() >= 0
    assert positive == (logit == pytest.approx(scored.scores["classifier"], abs=1e-4))
