"""A backbone, its features pooled over the image, and one linear layer.

With that head, Grad-CAM (Selvaraju et al., ICCV 2017) is a weighted sum of the last feature map,
which is therefore exported: an explanation needs no backward pass. Where several strides are
pooled, what each place adds to the pooled values is exported instead, which is a class activation
map (Zhou et al., CVPR 2016).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ml.models.backbones import (
    Normalise,
    create_backbone,
    create_pyramid,
    hold_batch_norm,
    hold_stem,
)
from ml.models.light import same_light
from ml.settings.models import BackboneConfig, Light

OUTPUTS = ("logits", "features", "embedding")

# What is taken of each map: mean, deviation, highest places; and the share of places that is.
_KINDS = 3
_TOP_SHARE = 0.02
# Keeps the deviation of a flat map differentiable.
_FLAT = 1e-6


class Classifier(nn.Module):
    """`[N, 3, H, W]`, RGB 0-255, to logits `[N, classes]`; class 0 is ok.

    Without `strides` the last feature map is averaged over the image. With them, mean, deviation
    and the mean of the highest places are taken of the map at each stride: a pinhole changes the
    highest places of a fine map, and next to nothing of a mean. Layers up to `frozen_stride` are
    held as they are. In evaluation the answer is the mean over the image in `turns` quarter turns,
    which must leave its size as it is.
    """

    def __init__(
        self,
        config: BackboneConfig,
        classes: int,
        seed: int,
        *,
        strides: Sequence[int] = (),
        light: Light = "as_is",
        frozen_stride: int = 0,
        turns: int = 1,
    ) -> None:
        super().__init__()
        self.light = light
        self.turns = turns
        self.strides = tuple(sorted(strides))
        self.normalise = Normalise(config)
        self.backbone: Any
        if strides:
            self.backbone = create_pyramid(config, seed, self.strides)
            width = _KINDS * sum(self.backbone.feature_info.channels())
        else:
            self.backbone = create_backbone(config, seed)
            width = self.backbone.num_features
        self.head = nn.Linear(width, classes)
        self._hold = config.freeze_batch_norm
        self._stem = hold_stem(self.backbone, frozen_stride)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, what was pooled `[N, K, h, w]` at the coarsest stride, embedding `[N, K]`."""
        if self.training or self.turns == 1:
            features, embedding = self.pooled(image)
        else:
            features, embedding = self.pooled(torch.cat(_turned(image, self.turns)))
            features = torch.stack(_turned_back(features.chunk(self.turns))).mean(dim=0)
            embedding = torch.stack(embedding.chunk(self.turns)).mean(dim=0)
        return self.head(embedding), features, embedding

    def pooled(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """What is pooled, and the embedding, of the image as it lies."""
        image = self.normalise(same_light(image, self.light))
        if self.strides:
            return _pooled(self.backbone(image), self.strides)
        features = self.backbone.forward_features(image)
        return features, features.mean(dim=(2, 3))

    def train(self, mode: bool = True) -> "Classifier":
        super().train(mode)
        if self._hold:
            hold_batch_norm(self.backbone)
        for module in self._stem:
            hold_batch_norm(module)
        return self


def _turned(image: Tensor, turns: int) -> list[Tensor]:
    """The image as it lies, and turned by one quarter more each."""
    return [image, *(_quarter(image, turn) for turn in range(1, turns))]


def _turned_back(maps: Sequence[Tensor]) -> list[Tensor]:
    return [maps[0], *(_quarter(one, 4 - turn) for turn, one in enumerate(maps[1:], start=1))]


def _quarter(image: Tensor, turn: int) -> Tensor:
    # As `torch.rot90`, of operators that the exporter knows.
    if turn == 2:
        return image.flip(2, 3)
    across = image.transpose(2, 3)
    return across.flip(2 if turn == 1 else 3)


def _pooled(maps: Sequence[Tensor], strides: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Maps `[N, K, h, w]` of the coarsest size, and the means `[N, K]` before they were shrunk."""
    size = maps[-1].shape[2:]
    shares = [_shares(one) for one in maps]
    coarse = [
        _resized(functional.avg_pool2d(one, strides[-1] // stride, ceil_mode=True), size)
        for one, stride in zip(shares, strides, strict=True)
    ]
    return torch.cat(coarse, dim=1), torch.cat([one.mean(dim=(2, 3)) for one in shares], dim=1)


def _resized(maps: Tensor, size: torch.Size) -> Tensor:
    # Networks that do not pad have maps that are not exact multiples of each other.
    if maps.shape[2:] == size:
        return maps
    return functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def _shares(features: Tensor) -> Tensor:
    """Of `[N, C, h, w]` maps `[N, 3C, h, w]` whose means over the places are its mean, standard
    deviation and mean of the highest places.
    """
    mean = features.mean(dim=(2, 3), keepdim=True)
    square = (features - mean).square() + _FLAT
    deviation = square.mean(dim=(2, 3), keepdim=True).sqrt()
    places = features.flatten(2)
    count = max(1, int(_TOP_SHARE * places.shape[2]))
    lowest = places.topk(count, dim=2).values[..., -1:, None]
    highest = lowest + (features - lowest).clamp(min=0) * (places.shape[2] / count)
    return torch.cat([features, square / deviation, highest], dim=1)
