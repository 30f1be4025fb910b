"""U-Net (Ronneberger et al., MICCAI 2015) whose encoder is the line's backbone."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ml.models.backbones import (
    Normalise,
    clear_backbone_errors,
    hold_batch_norm,
    load_weights,
    padding,
)
from ml.models.light import same_light
from ml.settings.models import BackboneConfig, Light

# isort: split
import segmentation_models_pytorch as smp

OUTPUTS = ("logits",)

# A U-Net halves the image this many times.
_LEVELS = 5
_MULTIPLE = 2**_LEVELS


class Segmenter(nn.Module):
    """`[N, 3, H, W]`, RGB 0-255, to logits `[N, 1, H, W]`: defect where above 0."""

    def __init__(
        self,
        config: BackboneConfig,
        decoder: int,
        seed: int,
        light: Light = "as_is",
    ) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self._light = light
        self.normalise = Normalise(config)
        with clear_backbone_errors(config):
            self.unet = smp.Unet(
                encoder_name=f"tu-{config.name}",
                encoder_weights=True if config.weights == "hub" else None,
                decoder_channels=[max(decoder >> level, 8) for level in range(_LEVELS)],
                classes=1,
                **padding(config),
            )
        if config.weights not in ("hub", "none"):
            load_weights(self.unet.encoder.model, config)
        self._hold = config.freeze_batch_norm

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[2:]
        spare = (0, -width % _MULTIPLE, 0, -height % _MULTIPLE)
        padded = functional.pad(
            self.normalise(same_light(image, self._light)), spare, mode="replicate"
        )
        logits: Tensor = self.unet(padded)
        return logits[:, :, :height, :width]

    def train(self, mode: bool = True) -> "Segmenter":
        super().train(mode)
        if self._hold:
            hold_batch_norm(self.unet.encoder)
        return self
