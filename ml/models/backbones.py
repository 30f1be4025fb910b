"""timm backbones: any name; weights from the hub, from a safetensors file, or none."""

import copy
import difflib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, NoReturn, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ml.errors import TrainingError
from ml.models import torch_ops  # noqa: F401 - must come before timm
from ml.models.transformers import reductions, resizable, token_pyramid
from ml.settings.models import BackboneConfig

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


def require_known(config: BackboneConfig) -> None:
    """Raises TrainingError with close names where timm has no network of that name."""
    # One of another hub, such as `hf-hub:…`, is known only there.
    if ":" in config.name or timm.is_model(config.name):
        return
    close = difflib.get_close_matches(config.name, timm.list_models(), 5)
    hint = f"; did you mean {', '.join(close)}?" if close else ""
    msg = f"backbone {config.name!r} is no timm network: correct `backbone.name`{hint}"
    raise TrainingError(msg)


def create_backbone(config: BackboneConfig, seed: int) -> nn.Module:
    """A timm network without pooling and head: `forward_features` gives `[N, K, h, w]`.

    Raises TrainingError when the name is unknown, the network gives no such map, or the weights
    cannot be had.
    """
    network = cast(nn.Module, _create(config, seed, num_classes=0, global_pool=""))
    if resizable(network):
        _refuse_transformer(config)
    return network


def create_pyramid(
    config: BackboneConfig,
    seed: int,
    strides: tuple[int, ...],
    size: tuple[int, int] | None = None,
) -> nn.Module:
    """A timm network that returns its feature maps at `strides`, in that order.

    Blocks of a plain vision transformer all have the stride of its patches: naming that once takes
    the last block, twice the last two. Such networks take images of `size` only, and without a
    `size` they are refused.
    Raises TrainingError when the network has no such strides or `size` does not suit it.
    """
    whole = _shape_of(config, num_classes=0)
    if resizable(whole):
        if size is None:
            _refuse_transformer(config)
        levels = _levels(config, reductions(whole), strides)
        return token_pyramid(_create(config, seed, num_classes=0), config.name, size, levels)
    found = _shape_of(config, features_only=True).feature_info.reduction()
    levels = _levels(config, found, strides)
    return cast(nn.Module, _create(config, seed, features_only=True, out_indices=levels))


def _refuse_transformer(config: BackboneConfig) -> NoReturn:
    msg = (
        f"backbone {config.name!r} is a transformer, which serves the anomaly model alone; "
        "leave the classifier out of `models`, or take a convolutional network"
    )
    raise TrainingError(msg)


def _levels(config: BackboneConfig, found: list[int], strides: tuple[int, ...]) -> tuple[int, ...]:
    """Indices of the levels at `strides`: of several at one stride the deepest."""
    wanted, taken = Counter(strides), []
    if missing := wanted - Counter(found):
        msg = (
            f"{config.name} has no features at stride {sorted(missing.elements())}; it has {found}"
        )
        raise TrainingError(msg)
    for stride in strides:
        places = [index for index, one in enumerate(found) if one == stride]
        taken.append(places[-wanted[stride]])
        wanted[stride] -= 1
    return tuple(taken)


def load_weights(model: nn.Module, config: BackboneConfig) -> None:
    """Load the weights file into all or the first layers of the network it was made from.

    Every tensor of `model` must be in the file in its shape, and every tensor of the file must
    belong to the whole network, so that no part stays random and no other network's file is
    taken. Raises TrainingError naming the tensors.
    """
    try:
        found = {_flat(name): tensor for name, tensor in load_file(config.weights).items()}
    except (OSError, SafetensorError) as error:
        msg = f"backbone weights {config.weights}: not a readable safetensors file: {error}"
        raise TrainingError(msg) from error
    wanted = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    wrong = [
        n for n, t in wanted.items() if _flat(n) not in found or found[_flat(n)].shape != t.shape
    ]
    if wrong:
        msg = f"{config.weights}: lacks {len(wrong)} tensors of {config.name}: {wrong[:5]}"
        raise TrainingError(msg)
    whole = _shape_of(config).state_dict()
    if foreign := sorted(set(found) - {_flat(name) for name in whole}):
        msg = f"{config.weights}: not made from {config.name}, which has no {foreign[:5]}"
        raise TrainingError(msg)
    model.load_state_dict({name: found[_flat(name)] for name in wanted}, strict=False)


def hold_batch_norm(model: nn.Module) -> None:
    """Keep batch norm in evaluation mode: folded weights have trivial running statistics."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def fold_batch_norm(network: nn.Module, size: tuple[int, int]) -> nn.Module:
    """A frozen network for images of `size`, with batch norms as part of the convolutions before.

    What it gives stays the same but for rounding, in less memory and time; where it would not, as
    the layers run in another order than they are listed in, the network is returned as it came.
    """
    if not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        return network
    folded = copy.deepcopy(network.eval())
    for parent in list(folded.modules()):
        for (before, layer), (after, norm) in pairwise(list(parent.named_children())):
            if not isinstance(layer, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d):
                continue
            if norm.track_running_stats:
                setattr(parent, before, fuse_conv_bn_eval(layer, norm))
                # timm's batch norm also holds the activation.
                setattr(parent, after, getattr(norm, "act", nn.Identity()))
    # No larger than the network's own: whether there is memory for `size` is not known yet.
    own = getattr(network, "pretrained_cfg", {}).get("input_size", (3, *size))
    sides = map(min, size, own[1:])
    image = torch.rand(1, 3, *sides, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        pairs = zip(network(image), folded(image), strict=True)
        same = all(torch.allclose(one, other, 1e-3, 1e-3 * one.std()) for one, other in pairs)
    return folded if same else network


def hold_stem(backbone: nn.Module, stride: int) -> list[nn.Module]:
    """Keep the layers up to `stride` from training, and return them.

    They see edges and textures, which differ little between lines, at the resolution that costs
    the most. Raises TrainingError when the network has no features of that stride.
    """
    if not stride:
        return []
    stages: Any = backbone.feature_info
    ends = {stage["reduction"]: _flat(stage["module"]) for stage in stages}
    if stride not in ends:
        msg = f"`classifier.frozen_stride` is {stride}; the backbone has strides {sorted(ends)}"
        raise TrainingError(msg)
    layers = list(backbone.named_modules())
    end = f"{ends[stride]}_"
    last = max(i for i, (name, _) in enumerate(layers) if f"{_flat(name)}_".startswith(end))
    # Those with parameters of their own: timm's batch norm is no leaf, and a container is no layer.
    held = [module for _, module in layers[: last + 1] if [*module.parameters(recurse=False)]]
    for module in held:
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(False)
    return held


def padding(config: BackboneConfig) -> dict[str, Any]:
    """timm arguments for TensorFlow's SAME padding, where the weights need it."""
    return {"pad_type": "same"} if config.pad_same else {}


@contextmanager
def clear_backbone_errors(config: BackboneConfig) -> Iterator[None]:
    """Turn what timm raises while it builds a network into a TrainingError that says what to do."""
    try:
        yield
    except TypeError as error:
        msg = f"backbone {config.name!r}: {error}; `backbone.pad_same` is for networks that pad so"
        raise TrainingError(msg) from error
    except (RuntimeError, KeyError) as error:
        msg = f"backbone {config.name!r}: {error}; `backbone.name` is any timm network"
        raise TrainingError(msg) from error
    except AssertionError as error:
        msg = f"backbone {config.name!r} does not suit this model: {error}; take another network"
        raise TrainingError(msg) from error
    except ValueError as error:
        msg = f"backbone {config.name!r}: {error} A segmenter takes a convolutional network"
        raise TrainingError(msg) from error
    except OSError as error:
        msg = (
            f"backbone {config.name!r}: its weights cannot be fetched ({error}); give a "
            'safetensors file as `backbone.weights`, or "none" for a random start'
        )
        raise TrainingError(msg) from error


def _create(config: BackboneConfig, seed: int, **options: Any) -> Any:
    torch.manual_seed(seed)
    with clear_backbone_errors(config):
        hub = config.weights == "hub"
        model = timm.create_model(config.name, pretrained=hub, **padding(config), **options)
    if config.weights not in ("hub", "none"):
        load_weights(model, config)
    return model


def _shape_of(config: BackboneConfig, **options: Any) -> Any:
    """The network without numbers: it takes no memory, and no time for a random start."""
    with clear_backbone_errors(config), torch.device("meta"):
        return timm.create_model(config.name, **padding(config), **options)


def _flat(name: str) -> str:
    # timm calls the same layer `stages.0` in the whole network and `stages_0` in its feature form.
    return name.replace(".", "_")
