"""How long an image takes: the whole bundle, one image at a time, on this machine."""

import platform
import time
from dataclasses import asdict, dataclass

import numpy as np

from ml import files
from ml.bundle import Bundle
from ml.data.dataset import load_dataset, read_rgb
from ml.imaging import Pixels
from ml.inference.engine import Inspector
from ml.settings import Env, Home

_IMAGES = 8
_ROUNDS = 3


@dataclass(frozen=True)
class Latency:
    """Median milliseconds from a decoded image to a verdict, and where that was measured."""

    challenger_ms: float
    champion_ms: float | None
    machine: str
    threads: int

    @property
    def slowdown(self) -> float:
        """How many times as long as the champion; 0 without one."""
        return 0.0 if self.champion_ms is None else self.challenger_ms / self.champion_ms


def latency(
    env: Env, home: Home, line: str, challenger: Bundle, champion: Bundle | None
) -> Latency:
    """Measure both by turns on the same test images; found again on the same machine.

    Without the file a repeated gate would tell other figures.
    """
    path = home.latency(line, challenger.name, None if champion is None else champion.name)
    here = (platform.node(), env.threads)
    if path.exists():
        known = Latency(**files.read_json(path))
        if (known.machine, known.threads) == here:
            return known
    samples = load_dataset(home, line, challenger.card.dataset).split("test")[:_IMAGES]
    images = [read_rgb(home, sample.sha256, sample.bits) for sample in samples]
    bundles = [challenger] if champion is None else [challenger, champion]
    medians = _medians([Inspector(bundle, env.threads) for bundle in bundles], images)
    made = Latency(medians[0], medians[1] if len(medians) > 1 else None, *here)
    files.write_json(path, asdict(made))
    return made


def _medians(inspectors: list[Inspector], images: list[Pixels]) -> list[float]:
    times: list[list[float]] = [[] for _ in inspectors]
    for inspector in inspectors:
        inspector.inspect(images[:1])  # the first call also plans the memory
    for image in images * _ROUNDS:
        for inspector, spent in zip(inspectors, times, strict=True):
            started = time.perf_counter()
            inspector.inspect([image])
            spent.append(time.perf_counter() - started)
    return [round(float(np.median(spent)) * 1000, 2) for spent in times]
