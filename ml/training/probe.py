"""A linear probe: the head that the pretrained features deserve before they are touched."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from ml.models.classifier import Classifier

# Inverse strength of the L2 penalty on standardised features; there are more features than images.
_C = 1e-1


def fit_head(model: Classifier, images: Iterable[Tensor], target: Tensor, weight: Tensor) -> None:
    """Set the head of `model` by weighted logistic regression on its embeddings.

    Fine-tuning from a random head distorts good features before it uses them (Kumar et al., ICLR
    2022, arXiv:2202.10054). `target` `[N]` are class indices, `weight` `[N]` the say of each image.
    """
    from sklearn.linear_model import LogisticRegression

    model.eval()
    with torch.inference_mode():
        embeddings = torch.cat([model.pooled(batch)[1].cpu() for batch in images]).double().numpy()
    mean, std = embeddings.mean(axis=0), embeddings.std(axis=0) + 1e-6
    say = weight.double().numpy() * len(target)
    probe = LogisticRegression(C=_C, max_iter=500)
    probe.fit((embeddings - mean) / std, target.numpy(), sample_weight=say)
    slopes, intercepts = probe.coef_ / std, probe.intercept_
    if len(slopes) == 1:
        # Two classes: one row that tells class 1 from class 0.
        slopes = np.concatenate([-slopes / 2, slopes / 2])
        intercepts = np.concatenate([-intercepts / 2, intercepts / 2])
    with torch.no_grad():
        model.head.weight.copy_(torch.from_numpy(slopes))
        model.head.bias.copy_(torch.from_numpy(intercepts - slopes @ mean))
