"""The loss of the segmenter, image by image, so that a small defect counts as a large one does."""

import torch
from torch import Tensor
from torch.nn import functional


def segmentation_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Loss of each image `[N]` from logits and 0/1 masks `[N, 1, H, W]`.

    Binary cross-entropy, and for an image with a defect the soft Dice loss (Milletari et al., 3DV
    2016); Dice of a good image would be near one for any trace of probability.
    """
    entropy = functional.binary_cross_entropy_with_logits(logits, masks, reduction="none")
    probability, truth = torch.sigmoid(logits).flatten(1), masks.flatten(1)
    overlap, true = (probability * truth).sum(dim=1), truth.sum(dim=1)
    dice = 1 - (2 * overlap + 1) / (probability.sum(dim=1) + true + 1)
    return entropy.flatten(1).mean(dim=1) + dice * (true > 0)
