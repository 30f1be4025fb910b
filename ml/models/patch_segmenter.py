"""A segmenter on the frozen backbone: each patch is judged from its features at several strides.

Such columns of features are the hypercolumns of Hariharan et al. (CVPR 2015, arXiv:1411.5752). With
some dozens of labelled defects a network trained from end to end learns them by heart; the few
weights of a head on frozen features do not.
"""

from torch import Tensor, nn
from torch.nn import functional

from ml.models.discriminator import PatchMaps


class PatchSegmenter(nn.Module):
    """`[N, 3, H, W]`, RGB 0-255, to logits `[N, 1, H, W]`: defect where above 0."""

    def __init__(self, maps: PatchMaps) -> None:
        super().__init__()
        self.maps = maps
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        found, _ = self.maps(image)
        return functional.interpolate(
            found, size=image.shape[2:], mode="bilinear", align_corners=False
        )
