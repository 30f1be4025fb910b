"""Where models train, and how that is made fast."""

import ctypes
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

import torch
from torch import nn

from ml.errors import TrainingError

Network = TypeVar("Network", bound=nn.Module)

# mallopt(3): options of the GNU C library.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
# From where on a block is large, and what the C library itself comes to call large.
_LARGE, _USUAL = 512 << 10, 32 << 20


def placed(model: Network) -> Network:
    """The model where it works, laid out as convolutions are fastest."""
    learns = any(one.requires_grad for one in model.parameters())
    for module in model.modules():
        if learns and isinstance(module, nn.Hardtanh | nn.Hardswish | nn.SiLU):
            # In place, each would copy its input first: the backward pass needs it.
            module.inplace = False
    return model.to(device()).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Let this process keep memory that it gives free, for the next step takes as much again.

    The GNU C library gives every large block back at once, and the kernel clears each new one: on a
    processor that is about a sixth of a training step. What is free at the end is given back. Does
    nothing with another C library.
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        yield
        return
    library.mallopt(_MMAP_MAX, 0)
    library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        library.malloc_trim(0)


@contextmanager
def freed_memory_returned() -> Iterator[None]:
    """Let this process give large blocks back as soon as they are free.

    The GNU C library keeps those it has seen before, in pieces for each thread: threads that embed
    images held twice what they use. Does nothing with another C library.
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        yield
        return
    library.mallopt(_MMAP_THRESHOLD, _LARGE)
    try:
        yield
    finally:
        library.mallopt(_MMAP_THRESHOLD, _USUAL)
        library.mallopt(_TRIM_THRESHOLD, 2 * _USUAL)
        library.malloc_trim(0)


def device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def require_compiler() -> None:
    """Raises TrainingError where `torch.compile` has no C++ compiler to work with."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        msg = f"`classifier.compile` needs a C++ compiler; there is no {compiler} (CXX names it)"
        raise TrainingError(msg)


def precision() -> AbstractContextManager[object]:
    """bfloat16 for convolutions and products where the GPU has it; else float32.

    On processors without bfloat16 arithmetic it is slower than float32, so they keep that. It has
    float32's range, so that the loss needs no scaling, as it does with float16.
    """
    if device().type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()
