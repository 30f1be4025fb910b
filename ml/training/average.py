"""A network beside the moving average of its weights; a checkpoint holds both."""

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


class Averaged(nn.Module, Generic[Network]):
    """Trains `network`; in evaluation the answer is that of `average`.

    `average` reaches back about `steps` steps, fewer at the start (Tarvainen and Valpola,
    NeurIPS 2017). It follows one step behind: a step's weights are taken in when the next begins.
    """

    def __init__(self, network: Network, steps: int) -> None:
        super().__init__()
        self.network = network
        self.average = copy.deepcopy(network).requires_grad_(False)
        self.seen: Tensor
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self._keep = 1 - 1 / steps

    def forward(self, images: Tensor) -> Tensor:
        if not self.training:
            found: Tensor = self.average(images)
            return found
        self._follow()
        found = self.network(images)
        return found

    def train(self, mode: bool = True) -> "Averaged[Network]":
        super().train(mode)
        self.average.eval()
        return self

    @torch.no_grad()
    def _follow(self) -> None:
        self.seen += 1
        seen = int(self.seen)
        keep = min(self._keep, seen / (seen + 10))
        pairs = zip(
            self.average.state_dict().values(), self.network.state_dict().values(), strict=True
        )
        for mean, now in pairs:
            if mean.is_floating_point():
                mean.lerp_(now, 1 - keep)
            else:
                mean.copy_(now)
