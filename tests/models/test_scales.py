"""One image at several scales: the maps are averaged, and ONNX Runtime agrees."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from ml.models.discriminator import PatchDiscriminator, PatchHead, PatchMaps
from ml.models.patches import OUTPUTS, Shrink, anomaly_features, shrinks
from ml.settings.models import AnomalyConfig, BackboneConfig, SegmenterConfig
from ml.training.export import check_parity, export_onnx

SIZE = (96, 64)
TINY = BackboneConfig(name="test_resnet", weights="none")
CONFIG = AnomalyConfig(method="discriminator", size=SIZE, scales=(1.0, 0.7, 0.5), top_share=0.1)


def images(count: int) -> Tensor:
    return 255 * torch.rand(count, 3, *SIZE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def model() -> PatchDiscriminator:
    features = anomaly_features(TINY, CONFIG, seed=1)
    torch.manual_seed(1)
    zero, one = torch.zeros(features.width), torch.ones(features.width)
    heads = [PatchHead(zero, one) for _ in CONFIG.scales]
    return PatchDiscriminator(PatchMaps(features, shrinks(CONFIG), heads), CONFIG.top_share)


@pytest.mark.parametrize("scale", [0.7, 0.5, 0.26])
def test_a_shrunk_image_is_that_of_the_area_average(scale: float) -> None:
    image = images(1)
    found = Shrink(SIZE, scale)(image)[0].permute(1, 2, 0).numpy()
    size = found.shape[1], found.shape[0]
    wanted = cv2.resize(
        np.ascontiguousarray(image[0].permute(1, 2, 0).numpy()), size, interpolation=cv2.INTER_AREA
    )
    np.testing.assert_allclose(found, wanted, atol=1e-2)


def test_the_map_is_the_mean_of_those_of_the_scales(model: PatchDiscriminator) -> None:
    features, heads = model.maps.features, model.maps.heads
    alone = [
        PatchMaps(features, [shrink], [head]).eval()(images(2))[0]
        for shrink, head in zip(model.maps.shrinks, heads, strict=True)
    ]
    size = alone[0].shape[2:]
    large = [torch.nn.functional.interpolate(one, size=size, mode="bilinear") for one in alone]
    with torch.inference_mode():
        _, found, embedding = model(images(2))
        whole = features(images(2))[1]
    torch.testing.assert_close(found, torch.stack(large).mean(dim=0))
    torch.testing.assert_close(embedding, whole)


def test_onnx_runtime_gives_the_same_and_keeps_the_backbone_once(
    model: PatchDiscriminator, tmp_path: Path
) -> None:
    export_onnx(model, OUTPUTS, SIZE, tmp_path / "model.onnx")
    assert check_parity("anomaly", model, tmp_path / "model.onnx", images(3)) < 1e-3
    weights = sum(one.numel() * 4 for one in model.parameters())
    assert (tmp_path / "model.onnx").stat().st_size < 1.5 * weights


@pytest.mark.parametrize("scales", [(), (0.5,), (1.0, 1.0), (1.0, 0.5, 0.7), (1.0, 0.1)])
def test_scales_fall_from_one(scales: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError):
        AnomalyConfig(method="discriminator", scales=scales)


def test_scales_are_for_what_judges_patches() -> None:
    with pytest.raises(ValidationError, match="discriminator"):
        AnomalyConfig(method="patchcore", scales=(1.0, 0.5))
    with pytest.raises(ValidationError, match="patches"):
        SegmenterConfig(scales=(1.0, 0.5))
