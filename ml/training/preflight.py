"""Before training: how much memory and time it will take, so that it never dies half-way."""

import copy
import logging
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn

from ml.errors import TrainingError
from ml.models.discriminator import PatchHead, TrainingPatches, train_step
from ml.models.patches import PatchFeatures
from ml.settings.models import AnomalyConfig, ClassifierConfig, SegmenterConfig
from ml.training.device import device
from ml.training.distributed import lowest
from ml.training.peak_memory import PeakMemory
from ml.training.pixels import steps_per_epoch

log = logging.getLogger(__name__)

# Weights, gradients, AdamW's two moments, and the best weights so far.
_COPIES = 5
# Patches that are kept, at most: as they are gathered, and as one tensor.
_KEPT = 2
# What the allocator and the operators' scratch memory add, and what a process needs anyway.
_OVERHEAD = 1.25
_FIXED = 64 << 20
# Part of the free memory that training may plan with.
_SHARE = 0.8
# To try a step of a head on.
_SOME_PATCHES = 4096
_TRIED_STEPS = 4
_CGROUP = Path("/sys/fs/cgroup")


def fitting_batch(
    model: nn.Module,
    settings: ClassifierConfig | SegmenterConfig | AnomalyConfig,
    images: int,
    images_bytes: int,
) -> int:
    """The largest of the batch asked for, half of it, a quarter, ... that fits into free memory.

    Where several processes train, that of the one with the least: they take the same steps.
    `images_bytes` is what the decoded images take of main memory. Raises TrainingError that says
    what is needed and what is free when not even two images fit.
    """
    size = settings.size
    per_image, fixed = _bytes_per_image(model, size), _fixed_bytes(model)
    held = 0 if device().type == "cuda" else images_bytes
    free = int(_SHARE * free_memory())

    def need(count: int) -> int:
        return int(_OVERHEAD * (count * per_image + fixed)) + held + _FIXED

    fits = lowest(_halved(settings.batch, 2, need, free))
    if need(fits) > free:
        tiled = isinstance(settings, SegmenterConfig) and settings.tile is not None
        msg = (
            f"training needs {_mb(need(fits))} for a batch of {fits} at {size[0]} x {size[1]} "
            f"pixels; {_mb(free)} may be used here. Lower `{'tile' if tiled else 'size'}`, or "
            "take a smaller backbone"
        )
        raise TrainingError(msg)
    steps = settings.epochs * steps_per_epoch(images, fits)
    minutes = steps * seconds_per_step(model, size, fits) / 60
    needs = f"about {_mb(need(fits))} of {_mb(free)} and {minutes:.1f} minutes"
    log.info("training needs %s: %d steps of %d images", needs, steps, fits)
    return fits


def embedding_batch(
    features: PatchFeatures,
    size: tuple[int, int],
    *,
    images: int,
    patches: int,
    batch: int,
    held: int = 0,
    passes: float = 1.0,
    key: str = "anomaly.size",
) -> int:
    """The largest of `batch`, half of it, a quarter, ... that embeds in free memory.

    At most `patches` patches of `images` images are kept, beside `held` bytes of main memory, and
    each image is embedded `passes` times; `key` of the line's file says the size. Raises
    TrainingError that says what is needed and what is free when not even one image fits.
    """
    per_image, places = _bytes_embedding(features, size)
    if device().type == "cuda":
        held = 0
    kept = held + _KEPT * 4 * features.width * min(patches, images * places)
    weights = sum(one.numel() * one.element_size() for one in features.parameters())
    free = int(_SHARE * free_memory())

    def need(count: int) -> int:
        return int(_OVERHEAD * (count * per_image + weights)) + kept + _FIXED

    fits = _halved(batch, 1, need, free)
    if need(fits) > free:
        msg = (
            f"`{key.split('.')[0]}` needs {_mb(need(fits))} to embed one image at {size[0]} x "
            f"{size[1]} pixels and keep its patches; {_mb(free)} may be used here. Lower "
            f"`{key}`, or take a smaller backbone"
        )
        raise TrainingError(msg)
    minutes = passes * -(-images // fits) * _seconds_embedding(features, size, fits) / 60
    needs = f"about {_mb(need(fits))} of {_mb(free)} and {minutes:.1f} minutes"
    log.info("embedding needs %s: %d images, %d at once", needs, images, fits)
    return fits


def log_head_time(width: int, fits: int, steps: int) -> None:
    """Say how long fitting heads on features `[P, width]` takes; the random state stays."""
    with torch.random.fork_rng():
        some = torch.rand(_SOME_PATCHES, width, device=device())
        patches = TrainingPatches(some, some, some, some[:, 0])
        head = PatchHead(some.mean(dim=0), some.std(dim=0)).to(device()).train()
        optimiser = torch.optim.AdamW(head.parameters())
        for _ in range(_TRIED_STEPS):  # the last one counts
            started = time.perf_counter()
            train_step(patches, head, optimiser)
            _finish()
    minutes = fits * steps * (time.perf_counter() - started) / 60
    log.info("then training needs about %.1f minutes: %d times %d steps", minutes, fits, steps)


def seconds_per_step(model: nn.Module, size: tuple[int, int], batch: int) -> float:
    """How long a step takes here, measured on a copy; the model and the random state stay."""
    with torch.random.fork_rng():
        probe = copy.deepcopy(model).train()
        images = torch.rand(batch, 3, *size).to(device()) * 255
        images = images.contiguous(memory_format=torch.channels_last)
        spent = [_step(probe, images) for _ in range(2)]
    return spent[-1]


def free_memory() -> int:
    """Bytes that this process may still take on the device where models train."""
    if device().type == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    free = int(psutil.virtual_memory().available)
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
        rows = (_CGROUP / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):  # no cgroup v2, or no limit
        return free
    # Pages of files that were read lately count as used, but make room when it is needed.
    spare = int(dict(row.split() for row in rows).get("inactive_file", 0))
    return min(free, limit - used + spare)


def _bytes_per_image(model: nn.Module, size: tuple[int, int]) -> int:
    """Bytes that the backward pass keeps of one image, found without computing anything."""
    probe = copy.deepcopy(model).to("meta").train()
    own = {_storage(tensor) for tensor in (*probe.parameters(), *probe.buffers())}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in own:
            kept[_storage(tensor)] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        # Two, because batch norm trains on no single value.
        probe(torch.empty(2, 3, *size, device="meta"))
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) // 2


def _bytes_embedding(features: PatchFeatures, size: tuple[int, int]) -> tuple[int, int]:
    """The most bytes that live at once while one image is embedded, and its number of patches."""
    probe = copy.deepcopy(features).to("meta")
    with torch.inference_mode(), PeakMemory() as memory:
        patches = probe(torch.empty(1, 3, *size, device="meta"))[0]
    return memory.peak, patches.shape[2] * patches.shape[3]


def _seconds_embedding(features: PatchFeatures, size: tuple[int, int], batch: int) -> float:
    with torch.random.fork_rng(), torch.inference_mode():
        images = (torch.rand(batch, 3, *size) * 255).to(device())
        for _ in range(2):  # the first call also plans the memory
            started = time.perf_counter()
            features(images)[0].cpu()
    return time.perf_counter() - started


def _halved(asked: int, least: int, need: Callable[[int], int], free: int) -> int:
    """The first of `asked`, half of it, ... that needs no more than is free, or `least`."""
    while asked > least and need(asked) > free:
        asked = max(least, asked // 2)
    return asked


def _fixed_bytes(model: nn.Module) -> int:
    return _COPIES * sum(one.numel() * one.element_size() for one in model.parameters())


def _step(model: nn.Module, images: Tensor) -> float:
    started = time.perf_counter()
    found = model(images)
    logits = found[0] if isinstance(found, tuple) else found
    logits.sum().backward()
    _finish()
    return time.perf_counter() - started


def _finish() -> None:
    """Wait for what a GPU has still to do."""
    if device().type == "cuda":
        torch.cuda.synchronize()


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _mb(count: int) -> str:
    return f"{count / 2**20:,.0f} MB"
