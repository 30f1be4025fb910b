"""Several processes that train one model, as `torchrun` starts them; alone, nothing here acts.

    torchrun --nproc-per-node 2 -m ml.cli train --line demo --dataset <d> --model classifier

Every process takes its share of each batch, and gradients are averaged, so a step is that of one
process with the whole batch, except that batch norm that is not frozen and the Dice of a mask are
taken over a share. Process 0 alone writes files and prints.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from ml.errors import TrainingError


@contextmanager
def process_group() -> Iterator[None]:
    """Join the processes that `torchrun` started, over NCCL between GPUs, else over gloo."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or distributed.is_initialized():
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    if not is_first():
        os.environ["LOUPE_PROGRESS"] = "off"
    try:
        yield
    finally:
        distributed.destroy_process_group()


def processes() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def is_first() -> bool:
    """Whether this process writes the files and prints the result."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


def share(images: int) -> slice:
    """This process's part of a batch: every so-many-th image, so each kind is shared out too.

    `images` are those that the batch really has. Raises TrainingError as `require_shares` does.
    """
    require_shares(images)
    return slice(0 if is_first() else distributed.get_rank(), None, processes())


def require_shares(images: int) -> None:
    """Raises TrainingError when the processes cannot have equal shares of so many images."""
    if images % processes():
        msg = (
            f"a batch of {images} images cannot be shared by {processes()} processes equally; "
            f"set `batch` to an even multiple of {processes()}"
        )
        raise TrainingError(msg)


def lowest(value: int) -> int:
    """The lowest value that any process has: what fits here must fit everywhere."""
    tensor = torch.tensor(value, device=_device())
    if processes() > 1:
        distributed.all_reduce(tensor, distributed.ReduceOp.MIN)
    return int(tensor)


def of_first(value: float) -> float:
    """The value that process 0 has, so that all decide alike."""
    tensor = torch.tensor(value, dtype=torch.float64, device=_device())
    if processes() > 1:
        distributed.broadcast(tensor, 0)
    return float(tensor)


def joined(step: nn.Module) -> nn.Module:
    """A module whose gradients are averaged over the processes; the same module when alone."""
    if processes() == 1:
        return step
    if torch.cuda.is_available():
        return DistributedDataParallel(step, device_ids=[torch.cuda.current_device()])
    return DistributedDataParallel(step)


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
