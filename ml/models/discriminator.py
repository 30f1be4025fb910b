"""A discriminator of good patches, after SimpleNet (Liu et al., CVPR 2023, arXiv:2303.15725).

SimpleNet teaches a small network to tell features of good patches from the same features with
noise. Here the noise has many strengths, and patches of labelled defects, where the line has
masks, are taught beside it: a few of them say which changes matter on this product.
Several such networks learn side by side from different starts, and their mean decides, as one alone
hangs on its start (Hansen and Salamon, Neural network ensembles, IEEE PAMI 1990).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ml.models.patches import PatchFeatures, mean_of_top
from ml.progress import track

_NETWORKS = 4
_HIDDEN = 128
_DROPOUT = 0.2
_LEARNING_RATE = 2e-3
_WEIGHT_DECAY = 1e-2

# Patches of each kind in a training step.
_GOOD, _CLEAN, _DEFECT, _NOISY = 1536, 512, 1024, 512
# Standard deviations of the patch features: of a synthetic defect, at most, and of every input.
_NOISE = 1.5
_JITTER = 0.2


@dataclass(frozen=True)
class TrainingPatches:
    """Patch features `[P, D]`: of good images, of clean places of defective ones, of defects.

    `weight` is how often each defect patch is drawn, relative to the others.
    """

    good: Tensor
    clean: Tensor
    defect: Tensor
    weight: Tensor


class PatchHead(nn.Module):
    """Log-odds of a defect for patch features `[..., D]`: the mean of several networks."""

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        # The hidden units of all networks in one layer, `_HIDDEN` after `_HIDDEN`.
        self.hidden = nn.Sequential(
            nn.Linear(len(mean), _NETWORKS * _HIDDEN), nn.ReLU(), nn.Dropout(_DROPOUT)
        )
        bound = _HIDDEN**-0.5  # PyTorch's own of a linear layer
        self.out_weight = nn.Parameter(torch.empty(_NETWORKS, _HIDDEN).uniform_(-bound, bound))
        self.out_bias = nn.Parameter(torch.empty(_NETWORKS).uniform_(-bound, bound))

    def forward(self, patches: Tensor) -> Tensor:
        weight = self.out_weight.flatten()[None] / _NETWORKS
        hidden = self.hidden(self.standardised(patches))
        return functional.linear(hidden, weight, self.out_bias.mean()[None])[..., 0]

    def each(self, standardised: Tensor) -> Tensor:
        """What each network says of standardised features `[P, D]`: `[P, networks]`."""
        hidden = self.hidden(standardised).unflatten(1, (_NETWORKS, _HIDDEN))
        return torch.einsum("pnh,nh->pn", hidden, self.out_weight) + self.out_bias

    def standardised(self, patches: Tensor) -> Tensor:
        """The features in units of their spread over good patches."""
        return (patches - self.mean) / self.std  # type: ignore[operator]


class PatchMaps(nn.Module):
    """Log-odds of a defect for each patch: the mean over scales, each with its head."""

    def __init__(
        self, features: PatchFeatures, shrinks: Sequence[nn.Module], heads: Sequence[PatchHead]
    ) -> None:
        super().__init__()
        self.features = features
        self.shrinks = nn.ModuleList(shrinks)
        self.heads = nn.ModuleList(heads)
        self.eval()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Map of log-odds `[N, 1, h, w]`, as fine as the first scale's; its embedding `[N, K]`."""
        seen = [self.features(shrink(image)) for shrink in self.shrinks]
        maps = [
            head(patches.permute(0, 2, 3, 1))[:, None]
            for head, (patches, _) in zip(self.heads, seen, strict=True)
        ]
        total, size = maps[0], maps[0].shape[2:]
        for one in maps[1:]:
            total = total + functional.interpolate(
                one, size=size, mode="bilinear", align_corners=False
            )
        return total / len(maps), seen[0][1]


class PatchDiscriminator(nn.Module):
    """What `PatchMaps` find, and the image score: the mean of its highest places."""

    def __init__(self, maps: PatchMaps, top_share: float) -> None:
        super().__init__()
        self.maps = maps
        self.top_share = top_share
        self.eval()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Image score `[N]`, map of log-odds `[N, 1, h, w]`, embedding `[N, K]`."""
        found, embedding = self.maps(image)
        return mean_of_top(found.flatten(1), self.top_share), found, embedding


def fit_patch_head(patches: TrainingPatches, steps: int, seed: int) -> PatchHead:
    """Train a head for `steps` steps, where the patches lie; equal inputs give equal weights."""
    good = patches.good
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = PatchHead(good.mean(dim=0), good.std(dim=0) + 1e-3).to(good.device)
        optimiser = torch.optim.AdamW(head.parameters(), weight_decay=_WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, _LEARNING_RATE, total_steps=steps + 1
        )
        head.train()
        for _ in track(range(steps), "train discriminator", steps):
            train_step(patches, head, optimiser)
            schedule.step()
    return head.eval()


def train_step(patches: TrainingPatches, head: PatchHead, optimiser: torch.optim.Optimizer) -> None:
    """One step on a fresh draw of the patches."""
    inputs, target = _draw(patches, head)
    found = head.each(inputs)
    each = functional.binary_cross_entropy_with_logits(
        found, target[:, None].expand_as(found), reduction="none"
    )
    # The sum: each network gets the gradient that it would have alone.
    loss = each.mean(dim=0).sum()
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def _draw(patches: TrainingPatches, head: PatchHead) -> tuple[Tensor, Tensor]:
    """One step's standardised inputs and what they are: 0 good, 1 defect."""
    good = [_some(patches.good, _GOOD)]
    defect = []
    if len(patches.defect):
        defect = [patches.defect[torch.multinomial(patches.weight, _DEFECT, replacement=True)]]
    if len(patches.clean):
        good.append(_some(patches.clean, _CLEAN))
    known = head.standardised(torch.cat([*good, *defect]))
    known = known + _JITTER * torch.randn_like(known)
    noisy = head.standardised(_some(patches.good, _NOISY))
    strength = _NOISE * torch.rand(_NOISY, 1, device=noisy.device)
    noisy = noisy + strength * torch.randn_like(noisy)
    target = torch.ones(len(known) + _NOISY, device=noisy.device)
    target[: sum(map(len, good))] = 0
    return torch.cat([known, noisy]), target


def _some(patches: Tensor, count: int) -> Tensor:
    return patches[torch.randint(len(patches), (count,), device=patches.device)]
