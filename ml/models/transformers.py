"""Feature maps of vision transformers, DINOv2 among them, at the size of a line's images."""

from typing import Any

from torch import nn

from ml.errors import TrainingError
from ml.models import torch_ops  # noqa: F401 - must come before timm

# isort: split
from timm.models._features import FeatureGetterNet


def resizable(network: nn.Module) -> bool:
    """Whether a timm network is made for one size of image and can be fitted to another."""
    return hasattr(network, "set_input_size")


def reductions(network: nn.Module) -> list[int]:
    """The stride of each block or stage, from the image on; of a plain transformer all alike."""
    return [level["reduction"] for level in network.feature_info]  # type: ignore[union-attr]


def token_pyramid(
    network: nn.Module, name: str, size: tuple[int, int], levels: tuple[int, ...]
) -> nn.Module:
    """The network with position embeddings for `size`, which gives `levels` as `[N, K, h, w]`.

    A plain transformer's maps pass its last norm, as DINOv2's patch tokens do (Oquab et al., TMLR
    2024, arXiv:2304.07193). Raises TrainingError when the sides are no multiples of its patch.
    """
    strides: Any = reductions(network)
    if any(side % strides[0] for side in size):
        msg = (
            f"{name} cuts images into patches of {strides[0]} x {strides[0]} pixels; the size "
            f"{size[0]} x {size[1]} is no multiple of that. Correct `anomaly.size`"
        )
        raise TrainingError(msg)
    network.set_input_size(img_size=size)  # type: ignore[operator]
    plain = len(set(strides)) == 1
    return FeatureGetterNet(network, out_indices=levels, norm=plain)  # type: ignore[no-any-return]
