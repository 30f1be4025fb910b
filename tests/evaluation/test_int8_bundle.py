"""An int8 model that was shipped is the one that is measured, sealed, verified and run."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tiny_line import DATASET, SIDE, Tiny

from ml import files
from ml.bundle import load_bundle
from ml.data.dataset import load_dataset, read_rgb
from ml.errors import BundleError
from ml.evaluation.evaluate import evaluate
from ml.evaluation.gate import judge
from ml.inference.engine import Inspector
from ml.settings.models import ExportConfig
from ml.training.quantise import activation_ranges, layers, prepared, quantised
from ml.training.run import INT8, run_name

CARD = {"shipped": True, "reason": "", "calibration": "minmax", "size_ratio": 3.5,
        "loss_points": 0.05, "score_difference": 0.2, "layers": 1}  # fmt: skip
SPEED = {"fp32_ms": 20.25, "int8_ms": 10.5, "machine": "press", "threads": 1}


@pytest.fixture
def quantised_line(tiny: Tiny) -> Tiny:
    """The tiny line whose classifier was decided to be shipped in int8, the others in fp32."""
    line = tiny.line.model_copy(update={"export": ExportConfig(int8="auto")})
    images = np.random.default_rng(1).uniform(90, 220, (8, 3, SIDE, SIDE)).astype(np.float32)
    for model in line.models:
        folder = tiny.home.training(line.name, run_name(line, DATASET, model, None))
        if model == "classifier":
            graph = prepared(folder / "model.onnx")
            ranges = activation_ranges(graph, images, 1)["minmax"]
            files.write_bytes(folder / "model.int8.onnx", quantised(graph, ranges, layers(graph)))
            found = {"card": CARD, "speed": SPEED}
        else:
            found = {"card": {"shipped": False, "reason": "int8 is no smaller"}, "speed": None}
        files.write_json(folder / INT8, found)
    return replace(tiny, line=line)


def test_the_shipped_model_is_the_one_that_is_sealed_and_measured(quantised_line: Tiny) -> None:
    env, home, line = quantised_line.env, quantised_line.home, quantised_line.line
    made = evaluate(env, home, line, DATASET)
    bundle = load_bundle(home, made.bundle.name)
    folder = home.training(line.name, run_name(line, DATASET, "classifier", None))
    sealed = bundle.model("classifier").read_bytes()
    assert sealed == (folder / "model.int8.onnx").read_bytes()
    assert sealed != (folder / "model.onnx").read_bytes()
    card = bundle.card.models
    assert card["classifier"].int8 is not None
    assert card["anomaly"].int8 is not None
    assert card["classifier"].int8.shipped
    assert card["anomaly"].int8.reason == "int8 is no smaller"
    assert "20.25" not in (bundle.folder / "card.json").read_text()
    page = made.report.read_text()
    assert "classifier: shipped in int8" in page
    assert "20.25 ms in fp32" in page

    test = load_dataset(home, line.name, DATASET).split("test")
    images = [read_rgb(home, sample.sha256) for sample in test]
    verdicts = [one.decision.verdict for one in Inspector(bundle, 1).inspect(images)]
    assert {v for v, s in zip(verdicts, test, strict=True) if s.is_defect} == {"fail"}
    assert judge(env, home, line, bundle).promote


def test_the_same_decision_gives_the_same_bundle(quantised_line: Tiny) -> None:
    line = quantised_line.line.model_copy(update={"export": ExportConfig()})
    plain = replace(quantised_line, line=line).evaluate()
    first = quantised_line.evaluate()
    assert first.name != plain.name
    for path in quantised_line.home.bundle("index").iterdir():
        if json.loads(path.read_text())["bundle"] == first.name:
            path.unlink()
    assert quantised_line.evaluate().name == first.name


def test_the_gate_refuses_fp32_scores_for_an_int8_model(quantised_line: Tiny) -> None:
    """The figures must be of the file that is sealed: fp32 scores are not those of int8."""
    from ml.evaluation.scores import TestScores, score
    from ml.evaluation.sealed import largest_difference
    from ml.inference.engine import ModelSet

    home, line = quantised_line.home, quantised_line.line
    bundle = quantised_line.evaluate()
    folder = home.training(line.name, run_name(line, DATASET, "classifier", None))
    paths = {name: bundle.model(name) for name in line.models}
    sizes = dict.fromkeys(line.models, (SIDE, SIDE))
    test = load_dataset(home, line.name, DATASET).split("test")

    def difference(classifier: object) -> float:
        models = ModelSet(paths | {"classifier": classifier}, sizes, 1)  # type: ignore[dict-item]
        return largest_difference(bundle, score(TestScores, home, models, test, 1))[0]

    assert difference(paths["classifier"]) <= line.gate.max_parity
    assert difference(folder / "model.onnx") > line.gate.max_parity


def test_a_flipped_byte_of_an_int8_model_is_refused(quantised_line: Tiny) -> None:
    home = quantised_line.home
    bundle = quantised_line.evaluate()
    path = bundle.model("classifier")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"classifier\.onnx: altered"):
        load_bundle(home, bundle.name)
