"""Let torchvision import beside a CPU build of torch.

The torchvision wheel of the package registry is built for CUDA; beside a CPU torch its compiled
operators do not load and `import torchvision` fails at `torchvision::nms`. Loupe uses none of
them, so their names are declared, and everything that needs no compiled operator works.
Import this module before anything that imports torchvision (timm and smp do).
"""

import importlib.util
from pathlib import Path

import torch


def _compiled_operators_load() -> bool:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    try:
        torch.ops.load_library(str(Path(spec.origin).parent / "_C.so"))  # type: ignore[no-untyped-call]
    except OSError:
        return False
    return True


def declare_missing_operators() -> None:
    """Declare `torchvision::nms` and `qnms` where the compiled ones cannot load."""
    if _compiled_operators_load():
        return
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        signature = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        library.define(signature)  # type: ignore[no-untyped-call]
    _keep_alive.append(library)


_keep_alive: list[torch.library.Library] = []

declare_missing_operators()
