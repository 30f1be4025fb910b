"""What ONNX Runtime computes on: CUDA where it can, else the CPU; and a GPU that is left idle."""

import contextlib
import logging
import os
import sys
from collections.abc import Collection
from functools import cache
from pathlib import Path

import onnxruntime

log = logging.getLogger(__name__)

CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"
_DEVICES = Path("/dev")


def gpu_visible() -> bool:
    """Whether NVIDIA's driver shows this process a GPU that CUDA_VISIBLE_DEVICES does not hide."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return not hidden and any(_DEVICES.glob("nvidia[0-9]*"))


def wanted_providers() -> list[str]:
    """What a session is to try, the best first."""
    available = onnxruntime.get_available_providers()
    if CUDA in available and gpu_visible():
        _load_cuda()
    return [name for name in (CUDA, _CPU) if name in available]


def idle_gpu(providers: Collection[str]) -> str:
    """What is wrong where a GPU is visible and CUDA not among the providers; else empty."""
    if CUDA in providers or not gpu_visible():
        return ""
    return (
        "a GPU is visible, but ONNX Runtime does not use it: the models run on the CPU, many times "
        "slower; install `onnxruntime-gpu[cuda,cudnn]` instead of `onnxruntime`, in the version of "
        "requirements.lock, with a driver that is new enough for its CUDA"
    )


def warn_if_idle(providers: Collection[str]) -> None:
    """Say once a process that a GPU is left idle by a session with these providers."""
    if said := idle_gpu(providers):
        _warn(said)


@cache
def _warn(said: str) -> None:
    log.warning("WARNING: %s", said)


@cache
def _load_cuda() -> None:
    # CUDA's libraries lie in packages of their own, where the linker does not look. What cannot be
    # loaded is printed, and stdout is for a step's result.
    with contextlib.redirect_stdout(sys.stderr):
        onnxruntime.preload_dlls()
