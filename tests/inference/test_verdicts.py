"""Verdicts from readings: whatever is unknown is held, and a batch decides like a single image."""

import numpy as np
import pytest
import tiny_line
from tiny_line import Tiny

from ml.bundle import Card
from ml.errors import BundleError
from ml.evaluation.calibrate import Fit, model_probabilities
from ml.imaging import decode_rgb
from ml.inference.engine import Inspector, class_score, open_session, raw_score
from ml.inference.explain import grad_cam, heat_map, overlay, to_png
from ml.inference.verdict import decide, hold


@pytest.fixture
def card(tiny: Tiny) -> Card:
    return tiny.evaluate().card


def test_a_missing_or_infinite_score_is_held(card: Card) -> None:
    good = {"classifier": -9.0, "segmenter": -4.0, "anomaly": 0.0}
    assert decide(card, good).verdict == "pass"
    for name in good:
        for bad in ({k: v for k, v in good.items() if k != name}, good | {name: float("nan")}):
            decision = decide(card, bad)
            assert (decision.verdict, decision.p_defect) == ("review", None)
            assert name in decision.reason
            assert set(decision.calibrated) == set(good) - {name}
    assert hold("late").verdict == "review"


def test_each_model_gives_a_probability_beside_its_raw_score(card: Card) -> None:
    scores = {"classifier": 1.5, "segmenter": -4.0, "anomaly": 0.7}
    found = decide(card, scores).calibrated
    fitted = Fit(
        {name: model.calibration for name, model in card.models.items()}, {}, 0, card.thresholds, ()
    )
    for name, score in scores.items():
        (expected,) = model_probabilities(fitted, name, np.array([score]))
        assert found[name] == pytest.approx(expected)
    assert decide(card, scores | {"anomaly": 9e9}).calibrated["anomaly"] == pytest.approx(1)


def test_a_batch_decides_like_single_images(tiny: Tiny) -> None:
    inspector = Inspector(tiny.evaluate(), 1)
    random = np.random.default_rng(9)
    images = [tiny_line.picture(random, strength) for strength in (0, 95, 0, 15, 70)]
    images.append(np.repeat(np.repeat(images[1], 2, axis=0), 2, axis=1))
    together = inspector.inspect(images)
    alone = [inspector.inspect([image])[0] for image in images]
    for one, other in zip(together, alone, strict=True):
        assert one.decision.verdict == other.decision.verdict
        assert one.scored.scores == pytest.approx(other.scored.scores, abs=1e-5)
    assert [one.decision.verdict for one in together[:3]] == ["pass", "fail", "pass"]
    assert together[1].defect_type == "red"
    assert inspector.inspect([]) == []


def test_the_class_score_is_log_odds_against_ok() -> None:
    logits = np.array([0.3, 1.2, -0.4], np.float32)
    shares = np.exp(logits) / np.exp(logits).sum()
    assert class_score(logits) == pytest.approx(np.log((1 - shares[0]) / shares[0]), abs=1e-5)


def test_grad_cam_equals_the_gradient_of_the_logit() -> None:
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(5)
    features = random.normal(size=(6, 4, 5)).astype(np.float32)
    head = random.normal(size=(3, 6)).astype(np.float32)
    tensor = torch.tensor(features, requires_grad=True)
    (tensor.mean(dim=(1, 2)) @ torch.tensor(head[2])).backward()
    weights = tensor.grad.mean(dim=(1, 2))
    expected = torch.relu((weights[:, None, None] * tensor).sum(0)).detach().numpy()
    assert grad_cam(features, head[2]) == pytest.approx(expected, abs=1e-6)


def test_the_heat_map_is_hot_where_the_defect_is(tiny: Tiny) -> None:
    inspector = Inspector(tiny.evaluate(), 1)
    image = tiny_line.picture(np.random.default_rng(3), 90)
    (found,) = inspector.inspect([image])
    heat = heat_map(found.scored)
    assert heat is not None
    assert heat[9:15, 9:15].min() > 0.9
    assert heat[20:, 20:].max() < 0.5
    shown = decode_rgb(to_png(overlay(image, heat), 16))
    assert shown.shape == (16, 16, 3)


def test_a_file_that_is_no_model_is_a_bundle_error(tmp_path: object) -> None:
    path = tmp_path / "broken.onnx"  # type: ignore[operator]
    path.write_bytes(b"not a model")
    with pytest.raises(BundleError, match=r"broken\.onnx"):
        open_session(path)


def test_raw_scores_rise_with_the_evidence_for_a_defect() -> None:
    logits = np.array([[2, 0, 0], [0, 2, 0], [0, 2, 2]], np.float32)
    maps = np.full((2, 1, 40, 40), -5, np.float32)
    maps[1, 0, 3, 3:5] = 5
    for model, outputs in (("classifier", {"logits": logits}), ("segmenter", {"logits": maps})):
        found = [raw_score(model, outputs, index) for index in range(len(outputs["logits"]))]
        assert found == sorted(set(found))
