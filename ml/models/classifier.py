"""Backbone, global average pooling, one linear layer.

With that head, Grad-CAM (Selvaraju et al., ICCV 2017) is a weighted sum of the last feature map,
which is therefore exported: an explanation needs no backward pass.
"""

from torch import Tensor, nn

from ml.models.backbones import Normalise, create_backbone, hold_batch_norm, hold_stem
from ml.models.light import same_light
from ml.settings.line import BackboneConfig, Light

OUTPUTS = ("logits", "features", "embedding")


class Classifier(nn.Module):
    """`[N, 3, H, W]`, RGB 0-255, to logits `[N, classes]`; class 0 is ok.

    Layers up to `frozen_stride` are held as they are.
    """

    def __init__(
        self,
        config: BackboneConfig,
        classes: int,
        seed: int,
        *,
        light: Light = "as_is",
        frozen_stride: int = 0,
    ) -> None:
        super().__init__()
        self.light = light
        self.normalise = Normalise(config)
        self.backbone = create_backbone(config, seed)
        self.head = nn.Linear(self.backbone.num_features, classes)  # type: ignore[arg-type]
        self._hold = config.freeze_batch_norm
        self._stem = hold_stem(self.backbone, frozen_stride)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, last feature map `[N, K, h, w]`, embedding `[N, K]`."""
        image = self.normalise(same_light(image, self.light))
        features = self.backbone.forward_features(image)  # type: ignore[operator]
        embedding = features.mean(dim=(2, 3))
        return self.head(embedding), features, embedding

    def train(self, mode: bool = True) -> "Classifier":
        super().train(mode)
        if self._hold:
            hold_batch_norm(self.backbone)
        for module in self._stem:
            hold_batch_norm(module)
        return self
