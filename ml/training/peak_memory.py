"""How much memory the tensors of a computation take, found without computing anything."""

import weakref
from collections import Counter
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class PeakMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors made within it; `peak` is when most of them lived at once.

    On the device `meta` it needs neither their memory nor their time. Gradients are not foreseen.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = self._now = 0
        self._references: Counter[int] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for one in tree_leaves(found):
            if isinstance(one, Tensor):
                self._see(one)
        return found

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        address, size = int(storage._cdata), storage.nbytes()
        # Views share what they show.
        self._now += 0 if self._references[address] else size
        self._references[address] += 1
        self.peak = max(self.peak, self._now)
        weakref.finalize(tensor, self._forget, address, size)

    def _forget(self, address: int, size: int) -> None:
        self._references[address] -= 1
        self._now -= 0 if self._references[address] else size
