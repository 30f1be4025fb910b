"""The same surface looks the same in any light, and nothing is made of nothing."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ml.inference.engine import open_session
from ml.models.light import same_light
from ml.models.patches import anomaly_features
from ml.settings.models import AnomalyConfig, BackboneConfig
from ml.training.export import export_onnx

SIDE = 48


def surfaces(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return 90 + 60 * torch.rand(count, 3, SIDE, SIDE, generator=generator)


def local(image: Tensor) -> Tensor:
    return same_light(image, "local")


def test_gain_and_shadow_hardly_change_what_is_left() -> None:
    image = surfaces(2)[:, :1].expand(-1, 3, -1, -1)
    for shadow in (torch.tensor(0.7), torch.linspace(0.6, 1.0, SIDE).view(1, 1, 1, SIDE)):
        before = (image - image * shadow).abs().mean()
        after = (local(image) - local(image * shadow)).abs().mean()
        assert after < before / 3


def test_a_window_at_the_border_holds_only_what_is_inside() -> None:
    grey = surfaces(1)[:, :1].expand(1, 3, SIDE, SIDE)
    found = local(grey)[0, 0]
    for row, column in ((0, 0), (0, 20), (24, 24), (47, 47)):
        rows = slice(max(0, row - 15), row + 16)
        window = grey[0, 0, rows, max(0, column - 15) : column + 16]
        gain = 40 / (float(window.std(correction=0)) + 10)
        expected = (float(grey[0, 0, row, column]) - float(window.mean())) * gain + 110
        assert abs(float(found[row, column]) - expected) < 0.05


def test_an_even_surface_stays_even() -> None:
    noise = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    assert float((local(100 + noise) - 110).abs().max()) < 5
    assert torch.allclose(local(torch.zeros(1, 3, SIDE, SIDE)), torch.tensor(110.0))


def test_it_lies_in_the_graph_and_a_batch_scores_as_single_images(tmp_path: Path) -> None:
    config = AnomalyConfig(size=(SIDE, SIDE), strides=(8,), light="local")
    features = anomaly_features(BackboneConfig(name="test_resnet", weights="none"), config, seed=1)
    export_onnx(features, ("patches", "embedding"), (SIDE, SIDE), tmp_path / "features.onnx")
    session = open_session(tmp_path / "features.onnx")
    images = surfaces(3)
    with torch.inference_mode():
        expected = features(images)[0].numpy()
    together = session.run(["patches"], {"image": images.numpy()})[0]
    alone = [session.run(["patches"], {"image": one[None].numpy()})[0] for one in images]
    np.testing.assert_allclose(together, expected, atol=1e-3)
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-4)
