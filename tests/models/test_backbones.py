"""Weights arrive whole and from the right network, or not at all."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ml.errors import TrainingError
from ml.models.backbones import create_backbone, create_pyramid, fold_batch_norm
from ml.models.segmenter import Segmenter
from ml.settings.models import BackboneConfig

# isort: split
import timm

WEIGHTS = (
    Path(__file__).parents[2].parent / "shared/data/weights/mobilenetv2_100_same.timm.safetensors"
)


def config(weights: str, name: str = "test_resnet") -> BackboneConfig:
    return BackboneConfig(name=name, weights=weights)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(7)
    path = tmp_path / "weights.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), path)
    return path


def test_file_weights_reach_backbone_pyramid_and_encoder_alike(saved: Path) -> None:
    image = torch.rand(1, 3, 64, 64)
    whole = timm.create_model("test_resnet")
    torch.manual_seed(7)
    expected = timm.create_model("test_resnet").state_dict()
    whole.load_state_dict(expected)
    whole.eval()
    backbone = create_backbone(config(str(saved)), seed=1).eval()
    pyramid = create_pyramid(config(str(saved)), seed=2, strides=(8, 32), size=(64, 64)).eval()
    encoder = Segmenter(config(str(saved)), 32, seed=3).eval().unet.encoder
    with torch.inference_mode():
        last = whole.forward_features(image)
        assert torch.equal(backbone.forward_features(image), last)  # type: ignore[operator]
        assert torch.equal(pyramid(image)[-1], last)
        assert torch.equal(encoder(image)[-1], last)


def test_weights_of_a_network_that_flattens_its_names_load_too(tmp_path: Path) -> None:
    path = tmp_path / "convnext.safetensors"
    whole = timm.create_model("test_convnext").eval()
    save_file(whole.state_dict(), path)
    pyramid = create_pyramid(
        config(str(path), "test_convnext"), seed=1, strides=(32,), size=(64, 64)
    ).eval()
    backbone = create_backbone(config(str(path), "test_convnext"), seed=1).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        expected = whole.stages(whole.stem(image))
        torch.testing.assert_close(pyramid(image)[0], expected)
        torch.testing.assert_close(
            backbone.forward_features(image),  # type: ignore[operator]
            whole.forward_features(image),
        )


def test_a_missing_tensor_is_named(saved: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    state = load_file(saved)
    del state["layer1.0.conv1.weight"]
    save_file(state, tmp_path / "cut.safetensors")
    with pytest.raises(TrainingError, match=r"layer1\.0\.conv1\.weight"):
        create_backbone(config(str(tmp_path / "cut.safetensors")), seed=1)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    # Every tensor of resnet18 fits a larger file that also has deeper layers.
    state = timm.create_model("test_resnet").state_dict()
    state["layer9.0.conv1.weight"] = torch.zeros(1)
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(TrainingError, match="not made from test_resnet"):
        create_backbone(config(str(tmp_path / "other.safetensors")), seed=1)


def test_a_file_that_is_no_safetensors_is_refused_clearly(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"not tensors")
    with pytest.raises(TrainingError, match="not a readable safetensors file"):
        create_backbone(config(str(path)), seed=1)


def test_an_unknown_network_is_named() -> None:
    with pytest.raises(TrainingError, match="no_such_net"):
        create_backbone(config("none", "no_such_net"), seed=1)
    with pytest.raises(TrainingError, match="no_such_net"):
        Segmenter(config("none", "no_such_net"), 32, seed=1)


def test_hub_weights_that_cannot_be_fetched_say_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub.constants

    # An empty cache and no network: what a factory network looks like.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    for build in (
        lambda: create_backbone(config("hub"), seed=1),
        lambda: Segmenter(config("hub"), 32, seed=1),
    ):
        with pytest.raises(TrainingError, match="safetensors file"):
            build()


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_050", "regnetx_002"])
def test_batch_norm_folds_into_the_convolutions(name: str) -> None:
    network = create_pyramid(config("none", name), 0, (4, 8)).eval()
    random = torch.Generator().manual_seed(0)
    for norm in norms(network):
        norm.running_mean.uniform_(-1, 1, generator=random)
        norm.running_var.uniform_(0.5, 2, generator=random)
    folded = fold_batch_norm(network, (64, 96))
    image = torch.rand(2, 3, 64, 96, generator=random)
    with torch.inference_mode():
        for one, other in zip(folded(image), network(image), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3 * float(other.std()))
    assert norms(network)
    assert not norms(folded)


def test_layers_that_run_in_another_order_than_listed_are_left_alone() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
            self.norm.running_mean.fill_(1.0)

        def forward(self, image: Tensor) -> list[Tensor]:
            return [self.layer(self.norm(image))]

    network = Backwards()
    assert fold_batch_norm(network, (8, 8)) is network
    assert norms(network)


def test_folding_takes_no_memory_for_a_large_image() -> None:
    huge = (200_000, 200_000)
    network = create_pyramid(config("none", "mobilenetv2_050"), 0, (4, 8))
    assert not norms(fold_batch_norm(network, huge))
    transformer = nn.LayerNorm(3)
    assert fold_batch_norm(transformer, huge) is transformer


def norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    return [one for one in network.modules() if isinstance(one, nn.BatchNorm2d)]


@pytest.mark.real_data
def test_local_mobilenet_weights_load_whole_into_every_model() -> None:
    if not WEIGHTS.exists():
        pytest.skip(f"{WEIGHTS} is not there: the real backbone stays unchecked")
    from safetensors.torch import load_file

    real = BackboneConfig(
        name="mobilenetv2_100", weights=str(WEIGHTS), pad_same=True, mean=(0.5,) * 3, std=(0.5,) * 3
    )
    whole = timm.create_model("mobilenetv2_100", pad_type="same").eval()
    state = load_file(WEIGHTS)
    found = whole.load_state_dict(state, strict=False)
    assert not found.unexpected_keys
    assert all(key.endswith("num_batches_tracked") for key in found.missing_keys)
    pyramid = create_pyramid(real, seed=1, strides=(8, 16), size=(224, 224)).eval()
    encoder = Segmenter(real, 64, seed=1).eval().unet.encoder
    backbone = create_backbone(real, seed=1).eval()
    image = torch.rand(1, 3, 97, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    padded = torch.nn.functional.pad(image, (0, 0, 0, 31))
    with torch.inference_mode():
        at_stride = whole.forward_intermediates(padded, intermediates_only=True)
        by_size = {tuple(one.shape[2:]): one for one in at_stride}
        for one in pyramid(padded):
            assert torch.equal(one, by_size[tuple(one.shape[2:])])
        assert torch.equal(encoder(padded)[3], by_size[(16, 8)])
        assert torch.equal(
            backbone.forward_features(image),  # type: ignore[operator]
            whole.forward_features(image),
        )
