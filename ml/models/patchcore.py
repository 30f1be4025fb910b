"""PatchCore (Roth et al., CVPR 2022, arXiv:2106.08265) with a bank of bounded size.

Departures from the paper: the distance map is smoothed at its own resolution, the image score is
the mean of its highest few per cent instead of the re-weighted maximum (`bench/anomaly.py` holds
both against the paper's way, as anomalib has it), and candidates for the coreset are a bounded
random sample, so that time grows with the images and memory does not.
"""

import torch
from torch import Tensor, nn

from ml.models.patches import PatchFeatures, mean_of_neighbours, mean_of_top
from ml.progress import track

# Patches of the bank compared at once: bounds the memory of a large batch.
_CHUNK = 1000
_STEPS = 127


class PatchCore(nn.Module):
    """The features and the memory bank: distance of each patch to its nearest good patch."""

    def __init__(self, features: PatchFeatures, bank: Tensor, top_share: float) -> None:
        super().__init__()
        self.features = features
        self.top_share = top_share
        self.register_buffer("bank", bank)
        self.eval()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Image score `[N]`, distance map `[N, 1, h, w]`, embedding `[N, K]`."""
        patches, embedding = self.features(image)
        count, width, height, across = patches.shape
        flat = patches.permute(0, 2, 3, 1).reshape(-1, width)
        bank: Tensor = self.bank  # type: ignore[assignment]
        nearest = torch.stack(
            [_squared_distances(flat, part) for part in torch.split(bank, _CHUNK)]
        )
        distance = nearest.amin(dim=0).clamp(min=0).sqrt().view(count, 1, height, across)
        smooth = mean_of_neighbours(distance, zeros_beyond=False)
        return mean_of_top(smooth.flatten(1), self.top_share), smooth, embedding


def in_eight_bits(bank: Tensor) -> Tensor:
    """A bank `[B, D]` whose patches are multiples of a 127th of their largest feature.

    A file may then keep the bank in eight bits: were it rounded there alone, products with the
    rounded patches would meet squares of the others, and distances would be off by far more.
    """
    step = bank.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(bank.dtype).tiny) / _STEPS
    return (bank / step).round() * step


def _squared_distances(patches: Tensor, bank: Tensor) -> Tensor:
    # Exact nearest neighbour by one matrix product: |a - b|^2 = |a|^2 + (|b|^2 - 2ab).
    nearest = torch.addmm((bank**2).sum(1), patches, bank.T, alpha=-2).amin(dim=1)
    lengths: Tensor = torch.linalg.vector_norm(patches, dim=1)
    return lengths.square() + nearest


def greedy_coreset(patches: Tensor, size: int, seed: int) -> Tensor:
    """Indices of a greedy k-centre coreset (Sener and Savarese, ICLR 2018).

    `patches` is `[P, D]`. The start is random; each further point is the farthest from those
    chosen, so covering distances fall monotonically. Memory is O(P); time O(size * P * D).
    """
    size = min(size, len(patches))
    start = int(torch.randint(len(patches), (1,), generator=torch.Generator().manual_seed(seed)))
    chosen = torch.empty(size, dtype=torch.long)
    chosen[0] = start
    squares = (patches**2).sum(1)
    nearest = torch.full((len(patches),), float("inf"))
    for number in track(range(1, size), "coreset", size - 1):
        last = int(chosen[number - 1])
        distance = squares - 2 * (patches @ patches[last]) + squares[last]
        torch.minimum(nearest, distance, out=nearest)
        nearest[last] = -1.0
        chosen[number] = nearest.argmax()
    return chosen
