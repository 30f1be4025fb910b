"""timm backbones: any name; weights from the hub, from a safetensors file, or none."""

from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ml.errors import TrainingError
from ml.models import torch_ops  # noqa: F401 - must come before timm
from ml.settings.line import BackboneConfig

# isort: split
import timm


class Normalise(nn.Module):
    """RGB 0-255 to what the backbone was trained on: (x / 255 - mean) / std."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        std = torch.tensor(config.std).view(1, 3, 1, 1)
        mean = torch.tensor(config.mean).view(1, 3, 1, 1)
        self.register_buffer("scale", 1 / (255 * std))
        self.register_buffer("shift", -mean / std)

    def forward(self, image: Tensor) -> Tensor:
        return image * self.scale + self.shift  # type: ignore[operator]


def create_backbone(config: BackboneConfig, seed: int) -> nn.Module:
    """A timm network without pooling and head: `forward_features` gives `[N, K, h, w]`.

    Raises TrainingError when the name is unknown or the weights cannot be had.
    """
    return _create(config, seed, num_classes=0, global_pool="")


def create_pyramid(config: BackboneConfig, seed: int, strides: tuple[int, ...]) -> nn.Module:
    """A timm network that returns its feature maps at `strides`, in that order."""
    reductions = _create(config, seed, load=False, features_only=True).feature_info.reduction()
    missing = set(strides) - set(reductions)
    if missing:
        msg = f"{config.name} has no features at stride {sorted(missing)}; it has {reductions}"
        raise TrainingError(msg)
    indices = tuple(reductions.index(stride) for stride in strides)
    return _create(config, seed, features_only=True, out_indices=indices)


def load_weights(model: nn.Module, config: BackboneConfig) -> None:
    """Load the weights file into a network that may lack the file's last layers.

    Raises TrainingError naming the keys when the network has any that the file lacks.
    """
    state = load_file(config.weights)
    wanted = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    missing = sorted(set(wanted) - set(state))
    if missing:
        msg = f"{config.weights}: lacks {len(missing)} tensors of {config.name}: {missing[:5]}"
        raise TrainingError(msg)
    model.load_state_dict({name: state[name] for name in wanted}, strict=False)


def hold_batch_norm(model: nn.Module) -> None:
    """Keep batch norm in evaluation mode: folded weights have trivial running statistics."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def padding(config: BackboneConfig) -> dict[str, Any]:
    """timm arguments for TensorFlow's SAME padding, where the weights need it."""
    return {"pad_type": "same"} if config.pad_same else {}


def _create(config: BackboneConfig, seed: int, load: bool = True, **options: Any) -> Any:
    torch.manual_seed(seed)
    hub = load and config.weights == "hub"
    try:
        model = timm.create_model(config.name, pretrained=hub, **padding(config), **options)
    except RuntimeError as error:
        msg = f"backbone {config.name!r}: {error}; `backbone.name` is any timm network"
        raise TrainingError(msg) from error
    except OSError as error:
        msg = (
            f"backbone {config.name!r}: its weights cannot be fetched ({error}); give a "
            'safetensors file as `backbone.weights`, or "none" for a random start'
        )
        raise TrainingError(msg) from error
    if load and config.weights not in ("hub", "none"):
        load_weights(model, config)
    return model
