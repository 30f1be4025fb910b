"""The segmenter that judges patches of a frozen backbone."""

from dataclasses import replace

import pytest
import torch

from ml.data.dataset import load_dataset
from ml.errors import TrainingError
from ml.search.search import search
from ml.settings import Env, Home, LineConfig
from ml.training.export import MAX_PARITY
from ml.training.patch_segmenter import _weight_by_type_and_group
from ml.training.train import train
from tests.training.conftest import MakeDataset


@pytest.fixture
def patches(line: LineConfig) -> LineConfig:
    return _changed(line, method="patches", steps=60)


def _changed(line: LineConfig, **keys: object) -> LineConfig:
    return line.model_copy(update={"segmenter": line.segmenter.model_copy(update=keys)})


def test_it_finds_the_defects_of_validation_and_is_the_same_twice(
    env: Env, home: Home, patches: LineConfig, make_dataset: MakeDataset
) -> None:
    runs = [train(env, home, patches, make_dataset(name), "segmenter").run for name in ("d1", "d2")]
    assert runs[0].onnx.read_bytes() == runs[1].onnx.read_bytes()
    result = runs[0].result
    assert result["parity"] <= MAX_PARITY
    assert result["metrics"]["auroc"] > 0.9
    assert result["metrics"]["dice"] > 0.2
    facts = result["facts"]
    assert (facts["good_images"], facts["labelled_defects"]) == (8, 6)
    assert facts["good_patches"] > facts["defect_patches"] > 0


def test_it_learns_from_tiles(
    env: Env, home: Home, patches: LineConfig, make_dataset: MakeDataset
) -> None:
    line = _changed(patches, tile=(24, 32))
    run = train(env, home, line, make_dataset(), "segmenter").run
    assert run.result["metrics"]["auroc"] > 0.7


def test_it_learns_at_several_scales(
    env: Env, home: Home, patches: LineConfig, make_dataset: MakeDataset
) -> None:
    result = train(
        env, home, _changed(patches, scales=(1.0, 0.5)), make_dataset(), "segmenter"
    ).run.result
    assert result["parity"] <= MAX_PARITY
    assert result["metrics"]["auroc"] > 0.9


def test_it_learns_from_weak_masks(
    env: Env, home: Home, patches: LineConfig, make_dataset: MakeDataset
) -> None:
    line = _changed(patches, weak_labels=True)
    result = train(env, home, line, make_dataset(masks=False), "segmenter").run.result
    assert result["facts"]["defect_patches"] > 0
    assert any("weak masks" in warning for warning in result["warnings"])


def test_every_defect_type_and_of_it_every_group_has_the_same_say(
    home: Home, make_dataset: MakeDataset
) -> None:
    one = load_dataset(home, "tiny", make_dataset()).samples[0]
    kinds = [("crack", "a"), ("crack", "a"), ("crack", "b"), ("hole", "c")]
    owners = [replace(one, defect_type=kind, group=group) for kind, group in kinds]
    assert torch.allclose(_weight_by_type_and_group(owners), torch.tensor([0.25, 0.25, 0.5, 1.0]))


def test_a_search_is_refused(
    env: Env, home: Home, patches: LineConfig, make_dataset: MakeDataset
) -> None:
    with pytest.raises(TrainingError, match="method"):
        search(env, home, patches, make_dataset(), "segmenter", 2, "f2")


def test_too_little_memory_is_said_before_it_begins(
    env: Env,
    home: Home,
    patches: LineConfig,
    make_dataset: MakeDataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ml.training.preflight.free_memory", lambda: 80 << 20)
    with pytest.raises(TrainingError, match=r"`segmenter` needs \d+ MB to embed one image"):
        train(env, home, patches, make_dataset(), "segmenter")
    tiles = patches.segmenter.model_copy(update={"tile": (32, 32)})
    tiled = patches.model_copy(update={"segmenter": tiles})
    with pytest.raises(TrainingError, match=r"Lower `segmenter\.tile`"):
        train(env, home, tiled, make_dataset(), "segmenter")
