"""The loss of the segmenter, from sums that add up over batches."""

import torch
from torch import Tensor
from torch.nn import functional


def mask_sums(logits: Tensor, masks: Tensor) -> Tensor:
    """What `segmentation_loss` needs of logits and 0/1 masks `[N, 1, H, W]`.

    Returns [cross-entropy, pixels, overlap, predicted, true]; sums of several batches add up.
    """
    entropy = functional.binary_cross_entropy_with_logits(logits, masks, reduction="sum")
    probability = torch.sigmoid(logits)
    pixels = torch.full_like(entropy, masks.numel())
    overlap = (probability * masks).sum()
    return torch.stack([entropy, pixels, overlap, probability.sum(), masks.sum()])


def segmentation_loss(sums: Tensor) -> Tensor:
    """Mean binary cross-entropy plus soft Dice (Milletari et al., 3DV 2016).

    Dice is taken over all the pixels of the sums, not per image: a good image has no overlap to
    gain, and per image its Dice would be near one for any trace of probability.
    """
    entropy, pixels, overlap, predicted, true = sums.unbind()
    # One pixel of smoothing: predicting nothing where there is nothing costs nothing.
    return entropy / pixels + 1 - (2 * overlap + 1) / (predicted + true + 1)
