"""Where models train."""

from contextlib import AbstractContextManager, nullcontext
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


def precision() -> AbstractContextManager[object]:
    """bfloat16 for convolutions and products where the GPU has it; else float32.

    On processors without bfloat16 arithmetic it is slower than float32, so they keep that. It has
    float32's range, so that the loss needs no scaling, as it does with float16.
    """
    if device().type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()
