"""Images through a frozen network, in order: on a CPU several side by side, in a thread each.

A network that shares its threads over one image waits for the slowest of them hundreds of times an
image, which other work on the machine makes long waits. Threads that share nothing do not wait, and
what they find does not depend on how many there are.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ml.ahead import run_ahead
from ml.training.device import device, freed_memory_returned
from ml.training.pixels import Pixels, to_tensor

_GPU_BATCH = 64


def images_at_once(threads: int) -> int:
    """How many images are best embedded at once, where memory suffices."""
    return _GPU_BATCH if device().type == "cuda" else threads


def batch_of(at_once: int) -> int:
    """Of `at_once` images, how many go through the network together."""
    return at_once if device().type == "cuda" else 1


def embed(
    features: nn.Module, parts: Iterable[Pixels], at_once: int
) -> Iterator[tuple[Pixels, Tensor]]:
    """Each part with the patch features `[n, h, w, D]` of its images, in main memory.

    `parts` are of `batch_of(at_once)` images.
    """
    features = features.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def one(pixels: Pixels) -> tuple[Pixels, Tensor]:
        patches: Tensor = features(to_tensor(pixels.images).to(device()))[0]
        return pixels, patches.permute(0, 2, 3, 1).cpu()

    if device().type == "cuda":
        yield from map(one, parts)
        return
    with _one_thread_each(), freed_memory_returned():
        yield from run_ahead(one, parts, threads=at_once, ahead=at_once)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Threads that start in here, and this one, compute alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
