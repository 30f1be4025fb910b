"""A run is reused, resumed to the same bytes, honest about its start, and refused with a reason."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import save

from ml.errors import DataError, TrainingError
from ml.models.backbones import create_backbone
from ml.settings import Env, Home, LineConfig
from ml.settings.models import ModelName
from ml.training import loop
from ml.training.export import MAX_PARITY
from ml.training.run import CHECKPOINT, finished_runs
from ml.training.tracking import open_client
from ml.training.train import RANDOM_START, Trained, train
from tests.training.conftest import SIDE, MakeDataset

# isort: split
import timm

OUTPUT_SHAPES = {
    "classifier": {"logits": (3, 3), "features": (3, -1, 2, 2), "embedding": (3, -1)},
    "segmenter": {"logits": (3, 1, SIDE, SIDE)},
    "anomaly": {"score": (3,), "map": (3, 1, 10, 10), "embedding": (3, -1)},
}


class Killed(BaseException):
    """Stands for a kill: nothing in the code catches it."""


def contents(run: Trained) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(run.run.folder.iterdir())}


@pytest.mark.parametrize("model", ["classifier", "segmenter", "anomaly"])
def test_a_run_is_finished_once_and_its_onnx_answers_as_agreed(
    env: Env, home: Home, line: LineConfig, make_dataset: MakeDataset, model: ModelName
) -> None:
    first = train(env, home, line, make_dataset(), model)
    result = first.run.result
    assert result["parity"] <= MAX_PARITY
    assert result["classes"] == ["ok", "bright", "dark"]
    assert RANDOM_START in result["warnings"]
    assert result["facts"]["threads"] == env.threads
    assert result["metrics"]["auroc"] is not None
    assert ("dice" in result["metrics"]) == (model == "segmenter")
    _check_outputs(first.run.onnx, model)
    before = contents(first)
    assert result["weights_sha256"] == sha256(before["model.safetensors"]).hexdigest()
    again = train(env, home, line, "d1", model)
    assert (first.skipped, again.skipped) == (False, True)
    assert again.mlflow_run == first.mlflow_run
    assert contents(again) == before
    client = open_client(env)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment.artifact_location.startswith(env.home.as_uri())
    assert len(client.search_runs([experiment.experiment_id])) == 1


def _check_outputs(path: Path, model: str) -> None:
    session = onnxruntime.InferenceSession(str(path))
    batch = np.random.default_rng(1).uniform(0, 255, (3, 3, SIDE, SIDE)).astype(np.float32)
    names = [output.name for output in session.get_outputs()]
    assert names == list(OUTPUT_SHAPES[model])
    together = session.run(None, {"image": batch})
    single = [session.run(None, {"image": one[None]}) for one in batch]
    for index, (found, shape) in enumerate(
        zip(together, OUTPUT_SHAPES[model].values(), strict=True)
    ):
        assert len(found.shape) == len(shape)
        assert all(want in (-1, have) for have, want in zip(found.shape, shape, strict=True))
        alone = np.concatenate([outputs[index] for outputs in single])
        np.testing.assert_allclose(found, alone, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "steps"), [("classifier", 1), ("classifier", 4), ("segmenter", 8)]
)
def test_a_killed_run_resumes_to_the_bytes_of_an_undisturbed_one(
    env: Env,
    home: Home,
    line: LineConfig,
    make_dataset: MakeDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: ModelName,
    steps: int,
) -> None:
    """14 images in batches of 4 are 3 steps an epoch: killed in the first, second, third epoch."""
    make_dataset()
    _killed_after(steps, monkeypatch, lambda: train(env, home, line, "d1", model))
    resumed = train(env, home, line, "d1", model)
    assert resumed.resumed == (steps > 3)
    assert not (resumed.run.folder / CHECKPOINT).exists()
    undisturbed_home = Home(tmp_path / "undisturbed")
    undisturbed_home.root.mkdir()
    for name in ("objects", "datasets"):
        (undisturbed_home.root / name).symlink_to(home.root / name)
    undisturbed = train(env, undisturbed_home, line, "d1", model)
    assert not undisturbed.resumed
    assert contents(resumed) == contents(undisturbed)


def _killed_after(steps: int, monkeypatch: pytest.MonkeyPatch, run: object) -> None:
    class Mortal(loop.Progress):
        def step(self, count: int = 1) -> None:
            super().step(count)
            nonlocal steps
            steps -= count
            if steps == 0:
                raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(loop, "Progress", Mortal)
        with pytest.raises(Killed):
            run()  # type: ignore[operator]


@pytest.mark.parametrize("model", ["classifier", "segmenter"])
@pytest.mark.parametrize(
    ("counts", "kind"), [((8, 0), "0 .* defect"), ((0, 8), "0 .* ok"), ((3, 8), "3 .* ok")]
)
def test_one_kind_of_image_is_refused_by_name_and_number(
    env: Env,
    home: Home,
    line: LineConfig,
    make_dataset: MakeDataset,
    model: ModelName,
    counts: tuple[int, int],
    kind: str,
) -> None:
    with pytest.raises(TrainingError, match=f"{kind}.*at least 4"):
        train(env, home, line, make_dataset(train=counts), model)


def test_weights_from_the_hub_are_known_by_their_hash(
    env: Env,
    home: Home,
    line: LineConfig,
    make_dataset: MakeDataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    create = timm.create_model

    def fetched(name: str, pretrained: bool = False, **options: Any) -> Any:
        """What the hub would give, without a network."""
        torch.manual_seed(5)
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", fetched)
    hub = line.model_copy(update={"backbone": line.backbone.model_copy(update={"weights": "hub"})})
    make_dataset()
    found = train(env, home, hub, "d1", "anomaly").run.result["backbone"]
    start = create_backbone(hub.backbone, seed=1).state_dict()
    expected = sha256(save(start)).hexdigest()
    assert found == {"name": "test_resnet", "weights": "hub", "weights_sha256": expected}


def test_anomaly_needs_no_defects_and_no_validation(
    env: Env, home: Home, line: LineConfig, make_dataset: MakeDataset
) -> None:
    dataset = make_dataset(train=(8, 0), validation=(0, 0))
    result = train(env, home, line, dataset, "anomaly").run.result
    assert result["facts"]["good_images"] == 8
    assert result["metrics"] == {"auroc": None, "ap": None}
    assert result["parity_images"] > 0


def test_anomaly_ignores_defective_training_images(
    env: Env, home: Home, line: LineConfig, make_dataset: MakeDataset
) -> None:
    clean = train(env, home, line, make_dataset("clean", train=(8, 0)), "anomaly")
    mixed = train(env, home, line, make_dataset("mixed", train=(8, 6)), "anomaly")
    assert clean.run.onnx.read_bytes() == mixed.run.onnx.read_bytes()


@pytest.mark.parametrize(("labelled", "defects"), [(True, 6), (False, 0)])
def test_a_discriminator_says_how_many_labelled_defects_taught_it(
    env: Env,
    home: Home,
    line: LineConfig,
    make_dataset: MakeDataset,
    labelled: bool,
    defects: int,
) -> None:
    run = train(env, home, _discriminator(line, labelled), make_dataset(), "anomaly").run
    facts = run.result["facts"]
    assert (facts["good_images"], facts["labelled_defects"]) == (8, defects)
    assert (facts["defect_patches"] > 0) == labelled
    assert run.result["parity"] <= MAX_PARITY
    _check_outputs(run.onnx, "anomaly")


def test_a_discriminator_fitted_twice_is_the_same(
    env: Env, home: Home, line: LineConfig, make_dataset: MakeDataset
) -> None:
    line = _discriminator(line, labelled=True)
    runs = [train(env, home, line, make_dataset(name), "anomaly").run for name in ("d1", "d2")]
    assert runs[0].onnx.read_bytes() == runs[1].onnx.read_bytes()


def test_a_discriminator_learns_from_good_images_alone_where_defects_have_no_masks(
    env: Env, home: Home, line: LineConfig, make_dataset: MakeDataset
) -> None:
    dataset = make_dataset(masks=False)
    run = train(env, home, _discriminator(line, labelled=True), dataset, "anomaly").run
    assert run.result["facts"]["labelled_defects"] == 0


def _discriminator(line: LineConfig, labelled: bool) -> LineConfig:
    changed = {"method": "discriminator", "steps": 20, "labelled": labelled}
    return line.model_copy(update={"anomaly": line.anomaly.model_copy(update=changed)})


def test_too_few_good_images_for_anomaly_say_how_many_are_needed(
    env: Env, home: Home, line: LineConfig, make_dataset: MakeDataset
) -> None:
    with pytest.raises(TrainingError, match=r"3 training images are ok.*at least 4"):
        train(env, home, line, make_dataset(train=(3, 8)), "anomaly")


def test_defects_without_masks_cannot_train_a_segmenter(
    env: Env, home: Home, line: LineConfig, make_dataset: MakeDataset
) -> None:
    with pytest.raises(TrainingError, match=r"0 .* defect with a mask"):
        train(env, home, line, make_dataset(masks=False), "segmenter")


def test_no_validation_images_are_refused(
    env: Env, home: Home, line: LineConfig, make_dataset: MakeDataset
) -> None:
    with pytest.raises(TrainingError, match="no validation images"):
        train(env, home, line, make_dataset(validation=(0, 0)), "classifier")


def test_a_model_that_the_line_does_not_use_is_refused(
    env: Env, home: Home, line: LineConfig, make_dataset: MakeDataset
) -> None:
    only = line.model_copy(update={"models": ("anomaly",)})
    with pytest.raises(TrainingError, match="has no classifier"):
        train(env, home, only, make_dataset(), "classifier")


def test_an_image_that_is_gone_is_named(
    env: Env, home: Home, line: LineConfig, make_dataset: MakeDataset
) -> None:
    make_dataset()
    gone = next(path for path in (home.root / "objects").glob("*/*") if path.stat().st_size > 500)
    gone.unlink()
    with pytest.raises(DataError, match=gone.name):
        train(env, home, line, "d1", "classifier")


def test_a_learning_rate_that_breaks_training_is_said(
    env: Env, home: Home, line: LineConfig, make_dataset: MakeDataset
) -> None:
    wild = line.classifier.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(TrainingError, match="lower learning_rate"):
        train(env, home, line.model_copy(update={"classifier": wild}), make_dataset(), "classifier")


def test_finished_runs_name_what_is_missing_and_follow_the_settings(
    env: Env, home: Home, line: LineConfig, make_dataset: MakeDataset
) -> None:
    only = line.model_copy(update={"models": ("anomaly",)})
    with pytest.raises(TrainingError, match="not trained yet: anomaly"):
        finished_runs(home, only, make_dataset())
    done = train(env, home, only, "d1", "anomaly")
    assert finished_runs(home, only, "d1") == {"anomaly": done.run}
    other = only.model_copy(update={"seed": 1})
    with pytest.raises(TrainingError, match="not trained yet"):
        finished_runs(home, other, "d1")
