"""Embedding side by side: the same patches, in order, whatever the number of threads."""

import numpy as np
import pytest
import tiny_line
import torch
from torch import Tensor

from ml.data.dataset import Sample
from ml.models.patches import PatchFeatures, anomaly_features
from ml.training.embed import batch_of, embed
from ml.training.pixels import Pixels

IMAGES = 11
SIDE = 32


@pytest.fixture
def features(monkeypatch: pytest.MonkeyPatch) -> PatchFeatures:
    monkeypatch.setattr("ml.training.embed.device", lambda: torch.device("cpu"))
    line = tiny_line.make_line()
    return anomaly_features(line.backbone, line.anomaly, line.seed)


def _parts(size: int) -> list[Pixels]:
    images = np.random.default_rng(0).integers(0, 255, (IMAGES, SIDE, SIDE, 3), dtype=np.uint8)
    when = tiny_line.datetime(2026, 1, 5)
    samples = [Sample(f"{n}", "train", "", "ok", *[""] * 5, when, "") for n in range(IMAGES)]
    return [
        Pixels(tuple(samples[at : at + size]), images[at : at + size], None)
        for at in range(0, IMAGES, size)
    ]


def _embedded(features: PatchFeatures, at_once: int) -> tuple[list[str], Tensor]:
    found = list(embed(features, _parts(batch_of(at_once)), at_once))
    names = [sample.sha256 for part, _ in found for sample in part.samples]
    return names, torch.cat([patches for _, patches in found])


def test_the_number_of_threads_changes_no_value_and_no_order(features: PatchFeatures) -> None:
    names, alone = _embedded(features, 1)
    assert names == [f"{n}" for n in range(IMAGES)]
    for at_once in (2, 5):
        assert _embedded(features, at_once)[0] == names
        assert torch.equal(_embedded(features, at_once)[1], alone)


def test_each_thread_computes_alone_and_the_process_as_before(features: PatchFeatures) -> None:
    before = torch.get_num_threads()
    used = []
    features.register_forward_pre_hook(lambda *_: used.append(torch.get_num_threads()))
    torch.set_num_threads(3)
    try:
        _embedded(features, 4)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert set(used) == {1}


def test_a_broken_image_is_not_passed_over(features: PatchFeatures) -> None:
    parts = _parts(2)
    features.register_forward_hook(lambda *_: 1 / 0)
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError):
        list(embed(features, parts, 4))
    assert torch.get_num_threads() == before
