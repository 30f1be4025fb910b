"""Scores of a split. Validation and test are different types, so that neither passes as the other.

Everything that is fitted takes `ValidationScores`; everything that is reported takes `TestScores`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from ml.ahead import in_batches, run_ahead
from ml.data.dataset import Sample, read_rgb
from ml.errors import LeakError
from ml.inference.engine import Floats, Prepared, Scored
from ml.progress import Progress
from ml.settings import Home

Numbers = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_BATCH = 16


@dataclass(frozen=True)
class Scores:
    """Raw scores `[N]` by model, and embeddings `[N, K]`, of the samples of one split."""

    samples: tuple[Sample, ...]
    raw: dict[str, Numbers]
    embeddings: Floats

    split: ClassVar[str]

    def __post_init__(self) -> None:
        for sample in self.samples:
            if sample.split != self.split:
                msg = f"image {sample.sha256} is of {sample.split}, not of {self.split}"
                raise LeakError(msg)

    @property
    def is_defect(self) -> Flags:
        return np.array([sample.is_defect for sample in self.samples], bool)

    @property
    def groups(self) -> tuple[str, ...]:
        return tuple(sample.group for sample in self.samples)

    def among(self, kept: Flags) -> Self:
        """The scores of the images that are `kept` `[N]`."""
        samples = tuple(one for one, keep in zip(self.samples, kept, strict=True) if keep)
        raw = {name: values[kept] for name, values in self.raw.items()}
        return type(self)(samples, raw, self.embeddings[kept])


class ValidationScores(Scores):
    """Scores that calibration, fusion and thresholds are fitted on."""

    split = "validation"


class TestScores(Scores):
    """Scores that nothing is fitted on."""

    split = "test"
    __test__ = False  # not a pytest class


Kind = TypeVar("Kind", ValidationScores, TestScores)


class Watcher(Protocol):
    """Looks at the maps of each image while they are there."""

    def see(self, sample: Sample, scored: Scored) -> None: ...


class Models(Protocol):
    """What scores images: a `ModelSet`."""

    def prepare(self, image: npt.NDArray[np.uint8]) -> Prepared: ...
    def score_prepared(self, images: Sequence[Prepared]) -> list[Scored]: ...


def score(
    kind: type[Kind],
    home: Home,
    models: Models,
    samples: Sequence[Sample],
    threads: int,
    watcher: Watcher | None = None,
) -> Kind:
    """Score the samples of one split, in their order."""
    raw: dict[str, list[float]] = {}
    embeddings = []
    readings = read_samples(home, models, samples, f"score {kind.split}", threads)
    for sample, scored in zip(samples, readings, strict=True):
        for name, value in scored.scores.items():
            raw.setdefault(name, []).append(value)
        embeddings.append(scored.embedding)
        if watcher is not None:
            watcher.see(sample, scored)
    stacked = {name: np.array(values) for name, values in raw.items()}
    return kind(tuple(samples), stacked, np.array(embeddings, np.float32))


def read_samples(
    home: Home, models: Models, samples: Sequence[Sample], stage: str, threads: int
) -> Iterator[Scored]:
    """What the models see in each sample, in order; decoding runs ahead in threads."""

    def prepare(sample: Sample) -> Prepared:
        return models.prepare(read_rgb(home, sample.sha256, sample.bits))

    opened = run_ahead(prepare, samples, threads=threads, ahead=2 * _BATCH)
    with Progress(stage, len(samples)) as progress:
        for batch in in_batches(opened, _BATCH):
            yield from models.score_prepared(batch)
            progress.step(len(batch))
