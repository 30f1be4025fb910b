"""The metrics of maps: do they show where the defect is, and nothing else?"""

from collections.abc import Iterator

from ml.bundle.card import Metric
from ml.evaluation.intervals import MIN_GROUPS, count_groups, rate_metric, to_metric
from ml.evaluation.metrics import rate
from ml.evaluation.pixels import MapEvidence
from ml.evaluation.scores import Flags, Numbers, TestScores


def map_metrics(maps: MapEvidence, test: TestScores, weights: Numbers) -> dict[str, Metric]:
    """Metrics by `<model>.<metric>`; without masks there is only `segmenter.false_region`."""
    found = {}
    masked, good = _Images(maps.with_mask, test), _Images(~test.is_defect, test)
    if masked.groups:
        for name, values in _means(maps, test, weights):
            found[name] = to_metric(values, masked.groups, enough=masked.enough)
    for name, event, images in _events(maps, masked, good):
        if images.groups:
            values = rate(event, images.among, weights)
            found[name] = rate_metric(values, images.groups, enough=images.enough)
    return found


class _Images:
    """Some images of the test split, and how many groups they are of."""

    def __init__(self, among: Flags, test: TestScores) -> None:
        self.among = among
        self.groups = count_groups(test.groups, among)
        self.enough = self.groups >= MIN_GROUPS


def _means(maps: MapEvidence, test: TestScores, weights: Numbers) -> Iterator[tuple[str, Numbers]]:
    for model, ranking in maps.ranking.items():
        for name, values in ranking.measure(weights[:, maps.usable]).items():
            yield f"{model}.{name}", values
    if maps.overlap is not None:
        types = [sample.defect_type for sample in test.samples]
        overlap = maps.overlap
        figures = {
            **overlap.per_image(maps.with_mask, weights),
            **overlap.pooled(maps.usable, weights),
            "dice_macro": overlap.macro(types, maps.with_mask, weights),
        }
        for name, values in figures.items():
            yield f"segmenter.{name}", values


def _events(
    maps: MapEvidence, masked: _Images, good: _Images
) -> Iterator[tuple[str, Flags, _Images]]:
    for model, hits in maps.pointing.items():
        yield f"{model}.pointing", hits, masked
    if maps.overlap is not None:
        yield "segmenter.missed", ~maps.overlap.touched, masked
        yield "segmenter.false_region", maps.overlap.marked, good
