"""Backbone, global average pooling, one linear layer.

With that head, Grad-CAM (Selvaraju et al., ICCV 2017) is a weighted sum of the last feature map,
which is therefore exported: an explanation needs no backward pass.
"""

from torch import Tensor, nn

from ml.models.backbones import Normalise, create_backbone, hold_batch_norm
from ml.settings.line import BackboneConfig

OUTPUTS = ("logits", "features", "embedding")


class Classifier(nn.Module):
    """`[N, 3, H, W]`, RGB 0-255, to logits `[N, classes]`; class 0 is ok."""

    def __init__(self, config: BackboneConfig, classes: int, seed: int) -> None:
        super().__init__()
        self.normalise = Normalise(config)
        self.backbone = create_backbone(config, seed)
        self.head = nn.Linear(self.backbone.num_features, classes)  # type: ignore[arg-type]
        self._hold = config.freeze_batch_norm

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, last feature map `[N, K, h, w]`, embedding `[N, K]`."""
        features = self.backbone.forward_features(self.normalise(image))  # type: ignore[operator]
        embedding = features.mean(dim=(2, 3))
        return self.head(embedding), features, embedding

    def train(self, mode: bool = True) -> "Classifier":
        super().train(mode)
        if self._hold:
            hold_batch_norm(self.backbone)
        return self
