"""Which layers of a model can be int8: the most that quality allows, by measurement."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import onnx

from ml.progress import Progress
from ml.training.quantise import (
    METHODS,
    Method,
    Ranges,
    layers,
    order_by_harm,
    quantised,
    within_budget,
)

# Shares of the weights that may stay in fp32; the last leaves a file of half the size.
BUDGETS = (0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32)
# Methods of calibration that are held against validation: those that do the least harm.
_METHODS = 2


@dataclass(frozen=True)
class Candidate:
    """A quantised model: its file, how it was calibrated, the layers in fp32, points lost."""

    content: bytes
    method: Method
    kept: frozenset[str]
    loss: float


class LayerSearch:
    """Candidates of one prepared model.

    `harm(path)` says how far the scores of a model file are from fp32 on training images, `loss`
    how many points it loses on validation. Every candidate is written to `path` to be measured.
    """

    def __init__(
        self,
        graph: onnx.ModelProto,
        ranges: dict[Method, Ranges],
        path: Path,
        harm: Callable[[Path], float],
        loss: Callable[[Path], float],
    ) -> None:
        self._graph, self._ranges, self._path = graph, ranges, path
        self._harm, self._loss = harm, loss
        self._weights = layers(graph)

    def best(self, most: float) -> Candidate:
        """The first candidate that loses at most `most`, else the one that loses least.

        All layers are tried in int8 first. Then those that do the most harm for each weight go
        back to fp32, within rising budgets.
        """
        methods = sorted(METHODS, key=lambda method: self._harm(self._write(method, ())))[:_METHODS]
        tried = [self._candidate(methods[0], frozenset())]
        if tried[0].loss <= most:
            return tried[0]
        order = order_by_harm(self._harm_alone(methods[0]), self._weights)
        for kept in dict.fromkeys(self._kept(order, share) for share in BUDGETS):
            for method in methods:
                tried.append(self._candidate(method, kept))
                if tried[-1].loss <= most:
                    return tried[-1]
        return min(tried, key=lambda one: one.loss)

    def _kept(self, order: list[str], share: float) -> frozenset[str]:
        return frozenset(within_budget(order, self._weights, share))

    def _harm_alone(self, method: Method) -> dict[str, float]:
        """The harm of each layer when it alone is quantised."""
        found = {}
        with Progress("int8: harm of each layer", len(self._weights)) as progress:
            for name in self._weights:
                rest = set(self._weights) - {name}
                found[name] = self._harm(self._write(method, rest))
                progress.step()
        return found

    def _candidate(self, method: Method, kept: frozenset[str]) -> Candidate:
        path = self._write(method, kept)
        return Candidate(path.read_bytes(), method, kept, self._loss(path))

    def _write(self, method: Method, kept: Collection[str]) -> Path:
        chosen = set(self._weights) - set(kept)
        self._path.write_bytes(quantised(self._graph, self._ranges[method], chosen))
        return self._path
