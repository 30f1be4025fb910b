"""Where models train."""

from typing import TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def placed(model: Network) -> Network:
    """The model where it trains, laid out as convolutions are fastest."""
    return model.to(device()).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
