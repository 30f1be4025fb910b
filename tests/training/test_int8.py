"""An int8 model is shipped where it is smaller, as good and faster; else the card says why not."""

from pathlib import Path
from statistics import NormalDist

import numpy as np
import onnx
import pytest
import torch
from sklearn.metrics import roc_auc_score

from ml.errors import TrainingError
from ml.inference.engine import open_session
from ml.models import patches
from ml.models.classifier import OUTPUTS, Classifier
from ml.models.patchcore import PatchCore, in_eight_bits
from ml.models.patches import anomaly_features
from ml.settings import Env, Home, LineConfig
from ml.settings.models import AnomalyConfig, BackboneConfig, ExportConfig
from ml.training import int8
from ml.training.export import MAX_PARITY, check_parity, export_onnx
from ml.training.int8 import MAX_LOSS, calibration_samples, loss_in_points, points_of_noise, why_not
from ml.training.mixed import LayerSearch
from ml.training.packing import packed
from ml.training.quantise import (
    METHODS,
    activation_ranges,
    layers,
    order_by_harm,
    prepared,
    quantised,
    within_budget,
)
from ml.training.run import INT8, INT8_ONNX, finished_runs
from ml.training.tracking import open_client
from ml.training.train import train
from tests.training.conftest import MakeDataset

GOOD = {"size_ratio": 3.5, "loss_points": 0.1, "batch_difference": 0.0}
FASTER, SLOWER = (20.0, 10.0), (10.0, 20.0)


@pytest.fixture
def asking(line: LineConfig) -> LineConfig:
    return line.model_copy(update={"export": ExportConfig(int8="auto"), "models": ("classifier",)})


def timed(monkeypatch: pytest.MonkeyPatch, found: tuple[float, float]) -> None:
    """Stands for the machine: how long fp32 and int8 take there."""
    monkeypatch.setattr(int8, "paired_ms", lambda *_: found)


@pytest.mark.parametrize(
    ("card", "speed", "reason"),
    [
        ({}, FASTER, ""),
        ({}, SLOWER, "not faster"),
        ({}, (10.2, 10.0), "not faster"),
        ({"loss_points": 0.21}, FASTER, "0.21 points on validation, or its noise"),
        ({"loss_points": -3.0}, FASTER, ""),
        ({"size_ratio": 1.0}, FASTER, "no smaller"),
        ({"batch_difference": 0.1}, FASTER, "batch"),
    ],
)
def test_the_gate_asks_for_size_quality_and_speed(
    card: dict[str, float], speed: tuple[float, float], reason: str
) -> None:
    found = why_not(GOOD | card, {"fp32_ms": speed[0], "int8_ms": speed[1]})
    assert (reason in found) if reason else not found


def test_the_worst_of_auroc_and_dice_counts() -> None:
    fp32, worse = {"auroc": 0.9, "ap": 0.9, "dice": 0.8}, {"auroc": 0.95, "ap": 0.1, "dice": 0.79}
    assert loss_in_points(fp32, worse) == pytest.approx(1.0)
    assert loss_in_points({"auroc": None}, {"auroc": None}) is None


@pytest.mark.parametrize("auroc", [0.9, 1.0])
def test_noise_costs_what_it_costs_on_many_images(auroc: float) -> None:
    random = np.random.default_rng(0)
    defect = np.repeat([False, True], 100_000)
    apart = np.sqrt(2) * NormalDist().inv_cdf(min(auroc, 0.99))
    fp32 = random.normal(size=len(defect)) + apart * defect
    int8 = 3 * (fp32 + 0.5 * random.normal(size=len(defect))) + 7
    lost = roc_auc_score(defect, fp32) - roc_auc_score(defect, int8)
    assert points_of_noise(fp32, int8, defect, auroc) == pytest.approx(100 * lost, abs=0.3)
    assert points_of_noise(fp32, 3 * fp32 + 7, defect, auroc) == pytest.approx(0.0, abs=1e-6)


def test_scores_that_have_nothing_to_do_with_each_other_lose_everything() -> None:
    defect = np.array([False, False, True, True])
    fp32, other = np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.0, 0.0, 3.0, 2.0])
    # Each kind the wrong way round, while AUROC stays at 1; and scores that are all alike.
    assert points_of_noise(fp32, other, defect, 1.0) == pytest.approx(49.0)
    assert points_of_noise(fp32, np.ones(4), defect, 1.0) == pytest.approx(49.0)


def test_a_better_one_is_shipped_and_a_repeated_step_decides_the_same(
    env: Env, home: Home, asking: LineConfig, make_dataset: MakeDataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    timed(monkeypatch, FASTER)
    run = train(env, home, asking, make_dataset(), "classifier").run
    assert run.int8 is not None
    card = run.int8["card"]
    assert (card["shipped"], card["reason"]) == (True, "")
    assert card["loss_points"] <= MAX_LOSS
    assert card["size_ratio"] > 2
    assert run.deployed == run.folder / INT8_ONNX
    assert run.onnx.stat().st_size > 2 * run.deployed.stat().st_size
    weights = {one.data_type for one in onnx.load(run.deployed).graph.initializer}
    assert onnx.TensorProto.INT8 in weights

    metrics = open_client(env).get_run(train(env, home, asking, "d1", "classifier").mlflow_run)
    assert metrics.data.metrics["int8_shipped"] == 1
    assert metrics.data.metrics["int8_ms"] == FASTER[1]

    timed(monkeypatch, SLOWER)
    assert train(env, home, asking, "d1", "classifier").run == run
    assert finished_runs(home, asking, "d1")["classifier"].deployed == run.deployed
    first = run.deployed.read_bytes()
    (run.folder / INT8).unlink()
    run.deployed.unlink()
    timed(monkeypatch, FASTER)
    assert train(env, home, asking, "d1", "classifier").run.deployed.read_bytes() == first


def test_a_slower_one_is_not_shipped_and_nothing_is_trained_for_the_decision(
    env: Env, home: Home, line: LineConfig, asking: LineConfig, make_dataset: MakeDataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    plain = asking.model_copy(update={"export": line.export})
    fp32 = train(env, home, plain, make_dataset(), "classifier").run
    assert not (fp32.folder / INT8).exists()
    with pytest.raises(TrainingError, match="not trained yet: classifier"):
        finished_runs(home, asking, "d1")
    timed(monkeypatch, SLOWER)
    done = train(env, home, asking, "d1", "classifier")
    assert done.skipped
    assert done.run.name == fp32.name
    assert done.run.int8 is not None
    assert "not faster" in done.run.int8["card"]["reason"]
    assert done.run.int8["card"]["size_ratio"] > 2
    assert done.run.deployed == fp32.onnx
    assert not (fp32.folder / INT8_ONNX).exists()


def test_a_worse_one_is_not_shipped_after_layers_were_left_in_fp32(
    env: Env, home: Home, asking: LineConfig, make_dataset: MakeDataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    timed(monkeypatch, FASTER)
    monkeypatch.setattr(int8, "MAX_LOSS", -100)  # nothing is as good as that
    run = train(env, home, asking, make_dataset(), "classifier").run
    assert run.int8 is not None
    card = run.int8["card"]
    assert "should cost them, above -100" in card["reason"]
    assert not card["shipped"]
    assert run.deployed == run.onnx
    assert not (run.folder / INT8_ONNX).exists()


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    """An exported network of 40 x 40 pixels, not trained."""
    network = Classifier(BackboneConfig(name="test_resnet", weights="none"), 2, seed=1).eval()
    path = tmp_path / "model.onnx"
    export_onnx(network, OUTPUTS, (40, 40), path)
    return path


@pytest.mark.parametrize(("curable", "loss"), [(True, 0.1), (False, 5.0)])
def test_the_layer_that_harms_goes_back_to_fp32(
    classifier: Path, tmp_path: Path, curable: bool, loss: float
) -> None:
    graph = prepared(classifier)
    weights = layers(graph)
    bad = min(weights, key=lambda name: weights[name])
    shape = next(tuple(dims(graph, node.input[1])) for node in graph.graph.node if node.name == bad)
    images = np.random.default_rng(1).uniform(0, 255, (4, 3, 40, 40)).astype(np.float32)

    def harmed(path: Path) -> bool:
        constants = onnx.load(path).graph.initializer
        return any(
            one.data_type == onnx.TensorProto.INT8 and tuple(one.dims) == shape for one in constants
        )

    best = LayerSearch(
        graph,
        activation_ranges(graph, images, 1),
        tmp_path / "candidate.onnx",
        harm=lambda path: 1.0 if harmed(path) else 0.01,
        loss=lambda path: 5.0 if harmed(path) or not curable else 0.1,
    ).best(most=0.2)
    assert best.loss == loss
    assert (bad in best.kept) == curable
    assert len(best.kept) < len(weights) / 2


def test_packed_weights_are_a_quarter_of_the_bytes_and_score_nearly_alike(
    classifier: Path, tmp_path: Path
) -> None:
    content = prepared(classifier).SerializeToString()
    small = packed(content)
    assert packed(content) == small
    large = [one for one in onnx.load_from_string(content).graph.initializer if weighs(one)]
    codes = [one for one in onnx.load_from_string(small).graph.initializer if weighs(one)]
    assert {one.data_type for one in codes} == {onnx.TensorProto.INT8}
    assert len(content) - len(small) > 0.7 * sum(4 * int(np.prod(one.dims)) for one in large)
    images = np.random.default_rng(1).uniform(0, 255, (4, 3, 40, 40)).astype(np.float32)
    (tmp_path / "small.onnx").write_bytes(small)
    logits, other = (
        open_session(path).run(["logits"], {"image": images})[0]
        for path in (classifier, tmp_path / "small.onnx")
    )
    assert 0 < np.abs(logits - other).max() < 0.02 * np.ptp(logits)


def test_a_packed_memory_bank_is_the_bank_that_its_squares_are_of(tmp_path: Path) -> None:
    line = AnomalyConfig(size=(40, 40), strides=(8, 16))
    features = anomaly_features(BackboneConfig(name="test_resnet", weights="none"), line, seed=1)
    generator = torch.Generator().manual_seed(1)
    # Patches far from zero, and near to each other: small differences of large products.
    bank = in_eight_bits(30 + torch.randn(200, features.width, generator=generator))
    path = tmp_path / "model.onnx"
    export_onnx(PatchCore(features, bank, 0.01), patches.OUTPUTS, (40, 40), path)
    small = onnx.load_from_string(packed(prepared(path).SerializeToString()))
    known = {one.name: onnx.numpy_helper.to_array(one) for one in small.graph.initializer}
    unpacked = [
        known[node.input[0][:-1] + "q"] * known[node.input[1]]
        for node in small.graph.node
        if node.op_type == "Mul" and node.input[1] in known and node.input[1].endswith("s")
    ]
    banks = [one for one in unpacked if one.shape == (200, features.width)]
    assert len(banks) == 1
    np.testing.assert_allclose(banks[0], bank.numpy(), rtol=1e-6)


def weighs(constant: onnx.TensorProto) -> bool:
    return len(constant.dims) > 1 and int(np.prod(constant.dims)) >= 1024


def dims(graph: onnx.ModelProto, name: str) -> list[int]:
    return next(list(one.dims) for one in graph.graph.initializer if one.name == name)


def test_validation_without_defects_keeps_fp32(
    env: Env, home: Home, asking: LineConfig, make_dataset: MakeDataset
) -> None:
    make_dataset(train=(8, 0), validation=(3, 0))
    only = asking.model_copy(update={"models": ("anomaly",)})
    run = train(env, home, only, "d1", "anomaly").run
    assert run.int8 is not None
    assert run.int8 == {
        "card": {"shipped": False, "reason": "too few kinds of validation images"},
        "speed": None,
    }
    assert run.deployed == run.onnx


@pytest.mark.parametrize(
    ("model", "keys"),
    [
        ("segmenter", {}),
        ("anomaly", {}),
        # Its convolutions see the image twice with the same weights.
        ("anomaly", {"method": "discriminator", "scales": (1.0, 0.5)}),
    ],
    ids=["segmenter", "patchcore", "scales"],
)
def test_the_other_models_are_quantised_too(
    env: Env, home: Home, asking: LineConfig, make_dataset: MakeDataset, model: str,
    keys: dict[str, object], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    timed(monkeypatch, FASTER)
    monkeypatch.setattr(int8, "MAX_LOSS", 100)
    section = getattr(asking, model).model_copy(update=keys)
    only = asking.model_copy(update={"models": (model,), model: section})
    run = train(env, home, only, make_dataset(), model).run  # type: ignore[arg-type]
    assert run.int8 is not None
    assert run.int8["card"]["fp32_layers"] == 0
    session = open_session(run.deployed)
    named = [output.name for output in session.get_outputs()]
    assert named == [output.name for output in open_session(run.onnx).get_outputs()]


def test_calibration_sees_training_images_only(
    env: Env, home: Home, make_dataset: MakeDataset
) -> None:
    from ml.data.dataset import load_dataset

    data = load_dataset(home, "tiny", make_dataset(train=(90, 40)))
    some = calibration_samples(data, 1)
    assert {sample.split for sample in some} == {"train"}
    assert sum(sample.is_defect for sample in some) == len(some) / 2
    assert some == calibration_samples(data, 1)


def test_layers_are_kept_by_harm_for_each_weight_within_the_budget() -> None:
    weights = {"small": 10, "harmless": 10, "large": 980}
    order = order_by_harm({"small": 1.0, "harmless": 0.01, "large": 2.0}, weights)
    assert order == ["small", "large", "harmless"]
    assert within_budget(order, weights, 0.0) == set()
    assert within_budget(order, weights, 0.01) == {"small"}
    assert within_budget(order, weights, 0.02) == {"small", "harmless"}
    assert within_budget(order, weights, 1.0) == set(weights)


def test_padding_is_constant_in_the_file_and_quantising_nothing_changes_nothing(
    tmp_path: Path,
) -> None:
    config = BackboneConfig(name="mobilenetv2_050", weights="none", pad_same=True)
    network = Classifier(config, 2, seed=1).eval()
    path = tmp_path / "model.onnx"
    export_onnx(network, OUTPUTS, (40, 48), path)
    assert {"Ceil", "Shape"}.isdisjoint(node.op_type for node in onnx.load(path).graph.node)
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(3, 3, 40, 48, generator=generator) * 255
    assert check_parity("classifier", network, path, images) <= MAX_PARITY

    model = prepared(path)
    ranges = activation_ranges(model, images.numpy(), 1)
    assert set(ranges) == set(METHODS)
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(quantised(model, ranges["minmax"], ()))
    assert check_parity("classifier", network, copy, images) <= MAX_PARITY
    chosen = set(layers(model))
    assert quantised(model, ranges["mse"], chosen) == quantised(model, ranges["mse"], chosen)
    for name, (low, high) in ranges["minmax"].items():
        for method in ("percentile", "mse"):
            inner = ranges[method][name]
            assert low - 1e-5 <= inner[0] <= inner[1] <= high + 1e-5


def test_a_quantised_model_scores_much_as_it_did(classifier: Path, tmp_path: Path) -> None:
    small = tmp_path / "int8.onnx"
    images = np.random.default_rng(1).uniform(0, 255, (8, 3, 40, 40)).astype(np.float32)
    model = prepared(classifier)
    ranges = activation_ranges(model, images, 1)["minmax"]
    small.write_bytes(quantised(model, ranges, layers(model)))
    first, second = (open_session(one).run(["embedding"], {"image": images})[0]
                     for one in (classifier, small))  # fmt: skip
    assert np.abs(first - second).max() < 0.1 * np.abs(first).max()
    assert not np.array_equal(first, second)


def test_what_follows_from_other_constants_is_left_out_and_nothing_computed_changes(
    classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.random.default_rng(1).uniform(0, 255, (8, 3, 40, 40)).astype(np.float32)
    model = prepared(classifier)
    ranges = activation_ranges(model, images, 1)["minmax"]
    light, whole = tmp_path / "light.onnx", tmp_path / "whole.onnx"
    light.write_bytes(quantised(model, ranges, layers(model)))
    for step in ("drop_zero_points", "compute_bias_scales"):
        monkeypatch.setattr(f"ml.training.quantise.{step}", lambda *_: None)
    whole.write_bytes(quantised(model, ranges, layers(model)))
    saved = whole.stat().st_size - light.stat().st_size
    biases = [one for one in onnx.load(whole).graph.initializer if one.data_type == 6]
    # Of three numbers for each bias one is left.
    assert saved > sum(int(np.prod(one.dims)) for one in biases) * 4 / 2
    first, second = (open_session(one).run(None, {"image": images}) for one in (light, whole))
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


class _TwoScales(torch.nn.Module):
    """One convolution that sees the image large and small."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Conv2d(3, 64, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        small = torch.nn.functional.avg_pool2d(image, 2)
        return sum(self.layer(one).relu().mean(dim=(2, 3)) for one in (image, small))


def test_a_bias_of_several_scales_is_kept_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.random.default_rng(1).uniform(0, 255, (4, 3, 40, 40)).astype(np.float32)
    original, light, whole = (tmp_path / f"{name}.onnx" for name in ("fp32", "light", "whole"))
    export_onnx(_TwoScales(), ("score",), (40, 40), original)
    model = prepared(original)
    ranges = activation_ranges(model, images, 1)["minmax"]
    light.write_bytes(quantised(model, ranges, layers(model)))
    monkeypatch.setattr("ml.training.quantise.compute_shared_biases", lambda *_: None)
    whole.write_bytes(quantised(model, ranges, layers(model)))
    for path, biases in ((light, 0), (whole, 2)):
        kinds = [one.data_type for one in onnx.load(path).graph.initializer]
        assert kinds.count(onnx.TensorProto.INT32) == biases
    first, second = (open_session(one).run(None, {"image": images}) for one in (light, whole))
    assert np.array_equal(first[0], second[0])
