"""Features of an image's patches from a frozen backbone: what the anomaly models see."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ml.errors import TrainingError
from ml.models.backbones import Normalise, create_pyramid, fold_batch_norm
from ml.models.light import same_light
from ml.models.transformers import resizable
from ml.settings.models import AnomalyConfig, BackboneConfig, SegmenterConfig

OUTPUTS = ("score", "map", "embedding")


class PatchFeatures(nn.Module):
    """`[N, 3, H, W]`, RGB 0-255, to patch features `[N, D, h, w]` and an embedding `[N, K]`.

    A patch feature is the mean of its 3 x 3 neighbours at each stride (Roth et al., CVPR 2022).
    What lies beyond the image counts as zeros for PatchCore: that shrinks border features, and
    with them the distances where good neighbours are rare. A discriminator learns its borders
    from the neighbours inside alone.
    """

    def __init__(
        self,
        backbone: BackboneConfig,
        config: AnomalyConfig | SegmenterConfig,
        seed: int,
        *,
        zeros_beyond: bool = False,
        projection: int | None = None,
    ) -> None:
        super().__init__()
        self.light = config.light
        self.zeros_beyond = zeros_beyond
        self.normalise = Normalise(backbone)
        pyramid = create_pyramid(backbone, seed, config.strides, config.input_size)
        self.pyramid = fold_batch_norm(pyramid, config.input_size)
        if len(config.scales) > 1 and resizable(getattr(self.pyramid, "model", self.pyramid)):
            msg = f"{backbone.name} takes images of one size only; leave out `scales`"
            raise TrainingError(msg)
        width = sum(self.pyramid.feature_info.channels())  # type: ignore[operator, union-attr]
        self.width = min(width, projection or width)
        narrower = _projection(width, self.width, seed) if self.width < width else None
        self.register_buffer("projection", narrower)
        self.eval().requires_grad_(False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.pyramid(self.normalise(same_light(image, self.light)))
        embedding = maps[-1].mean(dim=(2, 3))
        size = maps[0].shape[2:]
        pooled = [mean_of_neighbours(one, zeros_beyond=self.zeros_beyond) for one in maps]
        whole = torch.cat(
            [
                functional.interpolate(one, size=size, mode="bilinear", align_corners=False)
                for one in pooled
            ],
            dim=1,
        )
        if self.projection is not None:
            whole = torch.einsum("nchw,cd->ndhw", whole, self.projection)
        return whole, embedding


class Shrink(nn.Module):
    """Images `[N, 3, H, W]` at a part of their height and width: a pixel is the mean of its area.

    Two matrix products, as ONNX has no such operator.
    """

    def __init__(self, size: tuple[int, int], scale: float) -> None:
        super().__init__()
        rows, columns = (_area_means(side, max(1, round(side * scale))) for side in size)
        self.register_buffer("rows", rows)
        self.register_buffer("columns", columns.T.contiguous())

    def forward(self, image: Tensor) -> Tensor:
        shrunk: Tensor = self.rows @ image @ self.columns  # type: ignore[operator]
        return shrunk


def shrinks(config: AnomalyConfig | SegmenterConfig) -> list[nn.Module]:
    """What makes an image of the input size one of each of the `scales`."""
    return [
        nn.Identity() if scale == 1 else Shrink(config.input_size, scale) for scale in config.scales
    ]


def anomaly_features(backbone: BackboneConfig, config: AnomalyConfig, seed: int) -> PatchFeatures:
    """The features that the anomaly model of a line sees."""
    zeros_beyond = config.method == "patchcore"
    return PatchFeatures(
        backbone, config, seed, zeros_beyond=zeros_beyond, projection=config.projection
    )


def _projection(before: int, after: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(before, after, generator=generator)
    return directions / torch.tensor(after).sqrt()


def _area_means(before: int, after: int) -> Tensor:
    """`[after, before]`: the share of each pixel in each of the larger ones."""
    side = before / after
    start, pixel = torch.arange(after)[:, None] * side, torch.arange(before)
    overlap = torch.minimum(start + side, pixel + 1) - torch.maximum(start, pixel)
    return overlap.clamp(min=0) / side


def mean_of_neighbours(maps: Tensor, *, zeros_beyond: bool) -> Tensor:
    """Each place of `[N, C, h, w]` as the mean of its 3 x 3 neighbours."""
    return functional.avg_pool2d(maps, 3, stride=1, padding=1, count_include_pad=zeros_beyond)


def mean_of_top(values: Tensor, share: float) -> Tensor:
    """Mean of the highest `share` of `values` `[N, P]`, at least one: `[N]`."""
    count = max(1, int(values.shape[1] * share))
    return values.topk(count, dim=1).values.mean(dim=1)
