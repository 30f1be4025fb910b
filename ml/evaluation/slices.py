"""How a bundle does on parts of the test split: by defect, size, lot, camera and exposure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml.bundle.card import Metric, Thresholds
from ml.evaluation import metrics
from ml.evaluation.intervals import (
    MIN_GROUPS,
    auroc_metric,
    count_groups,
    rate_metric,
    to_metric,
)
from ml.evaluation.pixels import MapEvidence
from ml.evaluation.scores import Flags, Numbers, TestScores
from ml.evaluation.thresholds import verdicts

# Values of one field that are shown, those with the most groups.
MOST_VALUES = 30

Names = npt.NDArray[np.str_]


@dataclass(frozen=True)
class Share:
    """How many of some images, and that as a rate."""

    count: int
    images: int
    rate: Metric


@dataclass(frozen=True)
class Slice:
    """One value of one field. `auroc` is of the fused probability; `dice` None without masks.

    A figure of fewer than `MIN_GROUPS` groups has no interval.
    """

    field: str
    name: str
    auroc: Metric
    escape: Share
    overkill: Share
    review: Share
    dice: Metric | None


@dataclass(frozen=True)
class _Field:
    """The value of each image, "" for none; defects of a kind are ranked against all good ones."""

    title: str
    values: Sequence[str]
    of_defects: bool = False


class Slicer:
    """Cuts the test split. `weights` `[R, N]` as of `bootstrap_weights`; `brightness` `[N]` is the
    mean grey of the images (0-255), NaN where it is unknown.
    """

    def __init__(
        self,
        test: TestScores,
        maps: MapEvidence,
        p_defect: Numbers,
        thresholds: Thresholds,
        weights: Numbers,
    ) -> None:
        self._test = test
        self._maps = maps
        self._p_defect = p_defect
        self._passed, self._failed = verdicts(p_defect, thresholds)
        self._weights = weights

    def slices(self, brightness: Numbers) -> list[Slice]:
        """The rows of each field that has two values or more."""
        rows = []
        for field in self._fields(brightness):
            values = np.array(field.values, dtype=str)
            names = np.unique(values[values != ""])
            if len(names) > 1:
                kept = self._most_groups(values, names)
                rows += [self._slice(field, name, values == name) for name in kept]
        return rows

    def _fields(self, brightness: Numbers) -> Iterator[_Field]:
        samples = self._test.samples
        types = [sample.defect_type if sample.is_defect else "" for sample in samples]
        yield _Field("defect type", types, of_defects=True)
        sizes = _thirds(100 * self._maps.areas, "{:.2g} % of the image")
        yield _Field("defect size", sizes, of_defects=True)
        yield _Field("lot", [sample.lot for sample in samples])
        yield _Field("camera", [sample.camera for sample in samples])
        yield _Field("exposure", _thirds(brightness, "mean grey {:.0f}"))

    def _most_groups(self, values: Names, names: Names) -> list[str]:
        counts = {name: -count_groups(self._test.groups, values == name) for name in names}
        return sorted(sorted(counts, key=lambda name: (counts[name], name))[:MOST_VALUES])

    def _slice(self, field: _Field, name: str, among: Flags) -> Slice:
        defect = self._test.is_defect
        ranked = among | ~defect if field.of_defects else among
        return Slice(
            field.title,
            name,
            self._auroc(ranked),
            self._share(self._passed, among & defect),
            self._share(self._failed, among & ~defect),
            self._share(~self._passed & ~self._failed, among),
            self._dice(among & self._maps.with_mask),
        )

    def _share(self, event: Flags, among: Flags) -> Share:
        n = count_groups(self._test.groups, among)
        values = metrics.rate(event, among, self._weights)
        rate = rate_metric(values, n, enough=n >= MIN_GROUPS)
        return Share(int((event & among).sum()), int(among.sum()), rate)

    def _auroc(self, among: Flags) -> Metric:
        defect = self._test.is_defect
        kinds = (among & defect, among & ~defect)
        bad, good = (count_groups(self._test.groups, kind) for kind in kinds)
        n = min(bad, good)
        values = metrics.auroc(self._p_defect[among], defect[among], self._weights[:, among])
        return auroc_metric(values, n, bad, good, enough=n >= MIN_GROUPS)

    def _dice(self, among: Flags) -> Metric | None:
        if self._maps.overlap is None or not among.any():
            return None
        n = count_groups(self._test.groups, among)
        values = metrics.mean(self._maps.overlap.dice, among, self._weights)
        return to_metric(values, n, enough=n >= MIN_GROUPS)


def _thirds(values: Numbers, unit: str) -> list[str]:
    """The third that each value is in, with its bounds; "" for NaN."""
    known = values[~np.isnan(values)]
    if not len(known):
        return [""] * len(values)
    edges = np.quantile(known, [1 / 3, 2 / 3])
    low, high = (unit.format(edge) for edge in edges)
    names = [f"1st third: up to {low}", f"2nd third: up to {high}", f"3rd third: above {high}"]
    places = np.searchsorted(edges, values)
    return [
        "" if np.isnan(value) else names[place] for value, place in zip(values, places, strict=True)
    ]
