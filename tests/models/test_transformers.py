"""A vision transformer, DINOv2 among them, serves the anomaly model at the line's size."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ml.errors import TrainingError
from ml.inference.engine import open_session
from ml.models.backbones import create_backbone, create_pyramid
from ml.models.patchcore import PatchCore
from ml.models.patches import OUTPUTS, anomaly_features
from ml.models.segmenter import Segmenter
from ml.settings.models import AnomalyConfig, BackboneConfig
from ml.training.export import export_onnx, named_outputs

# isort: split
import timm

# Patches of 16 pixels, made for images of 160 x 160.
NAME = "test_vit"
SIZE = (64, 96)
VIT = BackboneConfig(name=NAME, weights="none")
CONFIG = AnomalyConfig(size=SIZE, strides=(16,), projection=16)


def images(count: int) -> Tensor:
    return 255 * torch.rand(count, 3, *SIZE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def bank() -> PatchCore:
    features = anomaly_features(VIT, CONFIG, seed=1)
    with torch.inference_mode():
        patches = features(images(3))[0].permute(0, 2, 3, 1).flatten(0, 2)
    return PatchCore(features, patches.clone(), top_share=0.1)


def test_the_last_normed_tokens_come_as_a_map_of_the_patch_grid(tmp_path: Path) -> None:
    whole = timm.create_model(NAME, num_classes=0).eval()
    save_file(whole.state_dict(), tmp_path / "vit.safetensors")
    config = VIT.model_copy(update={"weights": str(tmp_path / "vit.safetensors")})
    pyramid = create_pyramid(config, seed=2, strides=(16,), size=SIZE).eval()
    whole.set_input_size(img_size=SIZE)
    with torch.inference_mode():
        tokens = whole.forward_features(images(2))[:, whole.num_prefix_tokens :]
        found = pyramid(images(2))
    assert len(found) == 1
    assert found[0].shape[2:] == (4, 6)
    torch.testing.assert_close(found[0].flatten(2).transpose(1, 2), tokens)


def test_a_stride_named_twice_takes_the_last_two_blocks() -> None:
    once, twice = (create_pyramid(VIT, 1, strides, SIZE).eval() for strides in ((16,), (16, 16)))
    with torch.inference_mode():
        alone, both = once(images(1)), twice(images(1))
    assert len(both) == 2
    torch.testing.assert_close(both[1], alone[0])
    assert not torch.allclose(both[0], both[1])


def test_a_bank_of_tokens_scores_in_onnx_as_in_torch_and_alone_as_in_a_batch(
    bank: PatchCore, tmp_path: Path
) -> None:
    export_onnx(bank, OUTPUTS, SIZE, tmp_path / "anomaly.onnx")
    strange = images(7)[3:]
    expected = named_outputs("anomaly", bank, strange)
    session = open_session(tmp_path / "anomaly.onnx")
    batch = strange.numpy()
    together = session.run(list(OUTPUTS), {"image": batch})
    alone = [session.run(list(OUTPUTS), {"image": one[None]}) for one in batch]
    assert together[1].shape == (4, 1, 4, 6)
    for index, name in enumerate(OUTPUTS):
        np.testing.assert_allclose(together[index], expected[name], atol=1e-3)
        singles = np.concatenate([one[index] for one in alone])
        np.testing.assert_allclose(together[index], singles, atol=1e-3)


def test_patches_of_the_bank_are_near_and_others_are_not(bank: PatchCore) -> None:
    with torch.inference_mode():
        known, strange = bank(images(3))[1], bank(255 - images(3) ** 2 / 255)[1]
    assert float(known.max()) < 1e-2
    assert float(strange.mean()) > float(known.mean())


@pytest.mark.parametrize(
    ("strides", "size", "said"),
    [
        ((8, 16), SIZE, r"test_vit has no features at stride \[8\]"),
        ((16,) * 99, SIZE, r"test_vit has no features at stride"),
        ((16,), (64, 100), r"16 x 16 pixels; the size 64 x 100 .*anomaly\.size"),
    ],
)
def test_a_size_or_stride_that_does_not_suit_the_patches_is_named(
    strides: tuple[int, ...], size: tuple[int, int], said: str
) -> None:
    with pytest.raises(TrainingError, match=said):
        create_pyramid(VIT, 1, strides, size)


def test_dinov2_has_the_patches_that_the_readme_says() -> None:
    name = "vit_small_patch14_dinov2.lvd142m"
    pyramid = create_pyramid(BackboneConfig(name=name, weights="none"), 1, (14,), (28, 42))
    with torch.inference_mode():
        assert pyramid.eval()(torch.zeros(1, 3, 28, 42))[0].shape == (1, 384, 2, 3)


def test_classifier_and_segmenter_refuse_a_transformer_with_what_to_do() -> None:
    with pytest.raises(TrainingError, match="leave the classifier out"):
        create_backbone(VIT, seed=1)
    with pytest.raises(TrainingError, match="takes a convolutional network"):
        Segmenter(VIT, 32, seed=1)


def test_it_sees_images_at_one_scale_only() -> None:
    config = CONFIG.model_copy(update={"method": "discriminator", "scales": (1.0, 0.5)})
    with pytest.raises(TrainingError, match="`scales`"):
        anomaly_features(VIT, config, seed=1)
