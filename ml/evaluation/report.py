"""The HTML report of one bundle: one file with everything inlined."""

from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import numpy.typing as npt

from ml import files
from ml.bundle import Bundle
from ml.bundle.card import Metric
from ml.data import catalog
from ml.evaluation import plots
from ml.evaluation.calibrate import Fit, model_probabilities, probabilities
from ml.evaluation.intervals import bootstrap_weights
from ml.evaluation.page import PAGE, WORDS
from ml.evaluation.pictures import draw
from ml.evaluation.pixels import POINTING_TOLERANCE, MapEvidence
from ml.evaluation.prevalence import at_prevalence
from ml.evaluation.reliability import reliability_curve
from ml.evaluation.scores import Flags, Numbers, TestScores
from ml.evaluation.slices import MOST_VALUES, Slice, Slicer
from ml.evaluation.thresholds import verdicts
from ml.inference.engine import Inspector
from ml.settings import Home, LineConfig

_MODELS = ("fused", "classifier", "segmenter", "anomaly")
# Pictures of each kind of error, the worst first.
_WORST = 6

Places = npt.NDArray[np.intp]


def report_path(home: Home, line: str, bundle: str) -> Path:
    """Where the report of a bundle lies."""
    return home.reports(line) / "evaluate" / f"{bundle}.html"


def write_report(
    home: Home,
    line: LineConfig,
    bundle: Bundle,
    test: TestScores,
    maps: MapEvidence,
    fit: Fit,
    latency: dict[str, float],
    int8_speed: dict[str, Any],
    threads: int,
) -> Path:
    """Write the report of a bundle on its test images and return its path.

    `latency` is in milliseconds by model; `int8_speed` what `ml.training.int8` measured, where it
    did.
    """
    p_defect = probabilities(fit, test.raw)
    shown = {**test.raw, "fused": p_defect}
    page = jinja2.Environment(autoescape=True).from_string(PAGE)
    html = page.render(
        line=line,
        bundle=bundle,
        card=bundle.card,
        metrics=_named(bundle.card.metrics),
        curves=plots.curves(shown, test.is_defect) if _both(test.is_defect) else None,
        histograms=plots.histograms(shown, test.is_defect, fit.thresholds),
        confusion=_confusion(p_defect, test.is_defect, fit),
        words=WORDS,
        tolerance=POINTING_TOLERANCE,
        slices=_slices(home, line, test, maps, p_defect, fit),
        most=MOST_VALUES,
        worst=_worst(home, Inspector(bundle, threads), test, maps, p_defect),
        reliability=_reliability(test, fit, bundle.card.metrics, line.seed),
        latency=latency,
        speed=int8_speed,
    )
    path = report_path(home, line.name, bundle.name)
    files.write_bytes(path, html.encode())
    return path


def _named(metrics: dict[str, Metric]) -> list[tuple[str, str, Metric]]:
    """Model, name, metric: the fused verdict first, and each model's in the order of `WORDS`."""
    rows = []
    for key, metric in metrics.items():
        model, name = key.split(".", 1)
        rows.append((model, name, metric))
    places = {name: place for place, name in enumerate(WORDS)}
    return sorted(rows, key=lambda row: (_MODELS.index(row[0]), places.get(row[1], len(places))))


def _both(defect: Flags) -> bool:
    return bool(defect.any() and not defect.all())


def _reliability(test: TestScores, fit: Fit, metrics: dict[str, Metric], seed: int) -> str | None:
    """Reliability diagram of each model and the fusion; None where the images are of one kind."""
    if not _both(test.is_defect):
        return None
    p = {name: model_probabilities(fit, name, raw) for name, raw in test.raw.items()}
    p["fused"] = probabilities(fit, test.raw)
    weights = at_prevalence(
        bootstrap_weights(test.groups, seed), test.is_defect, fit.thresholds.prevalence
    )
    return plots.reliability(
        {name: reliability_curve(values, test.is_defect, weights) for name, values in p.items()},
        {name: metrics[f"{name}.ece"] for name in p},
    )


def _confusion(p_defect: Numbers, defect: Flags, fit: Fit) -> list[dict[str, Any]]:
    passed, failed = verdicts(p_defect, fit.thresholds)
    return [
        {
            "truth": name,
            "pass": int((passed & among).sum()),
            "review": int((~passed & ~failed & among).sum()),
            "fail": int((failed & among).sum()),
            "images": int(among.sum()),
        }
        for name, among in (("good", ~defect), ("defect", defect))
    ]


def _slices(
    home: Home, line: LineConfig, test: TestScores, maps: MapEvidence, p_defect: Numbers, fit: Fit
) -> list[Slice]:
    rows = catalog.read_images(home, line.name).select(["sha256", "brightness"]).to_pylist()
    grey = {row["sha256"]: row["brightness"] for row in rows}
    brightness = np.array([grey.get(sample.sha256, np.nan) for sample in test.samples], float)
    weights = bootstrap_weights(test.groups, line.seed)
    return Slicer(test, maps, p_defect, fit.thresholds, weights).slices(brightness)


def _worst(
    home: Home, inspector: Inspector, test: TestScores, maps: MapEvidence, p_defect: Numbers
) -> dict[str, list[dict[str, Any]]]:
    """Rows of pictures by what is wrong with them, the worst first."""
    order, defect = np.argsort(p_defect, kind="stable"), test.is_defect
    sorts = {
        "Least suspected defects": order[defect[order]],
        "Most suspected good parts": order[~defect[order]][::-1],
        "Worst marked defects": _worst_marked(maps),
    }
    picked = {title: _of_each_group(test, some) for title, some in sorts.items()}
    indices = sorted({index for some in picked.values() for index in some})
    pictures = draw(home, inspector, [test.samples[index] for index in indices])
    rows = {
        index: {"picture": picture} | _marks(maps, index)
        for index, picture in zip(indices, pictures, strict=True)
    }
    return {title: [rows[index] for index in some] for title, some in picked.items()}


def _of_each_group(test: TestScores, order: Places) -> list[int]:
    first: dict[str, int] = {}
    for index in order:
        first.setdefault(test.samples[index].group, int(index))
    return list(first.values())[:_WORST]


def _worst_marked(maps: MapEvidence) -> Places:
    """Defects by rising Dice, or without a segmenter those that no map points at."""
    masked = np.flatnonzero(maps.with_mask)
    if maps.overlap is not None:
        return np.asarray(masked[np.argsort(maps.overlap.dice[masked], kind="stable")])
    pointed = np.any(list(maps.pointing.values()), axis=0)
    return np.asarray(masked[~pointed[masked]])


def _marks(maps: MapEvidence, index: int) -> dict[str, Any]:
    """Where there is a mask: the Dice of the image, and which models point at the defect."""
    if not maps.with_mask[index]:
        return {"dice": None, "pointing": {}}
    dice = None if maps.overlap is None else float(maps.overlap.dice[index])
    return {"dice": dice, "pointing": {name: hits[index] for name, hits in maps.pointing.items()}}
