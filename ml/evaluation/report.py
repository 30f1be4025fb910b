"""The HTML report of one bundle: one file with everything inlined."""

from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np

from ml import files
from ml.bundle import Bundle
from ml.bundle.card import Metric
from ml.data.dataset import Sample, read_mask, read_rgb
from ml.evaluation import plots
from ml.evaluation.calibrate import Fit, model_probabilities, probabilities
from ml.evaluation.intervals import bootstrap_weights
from ml.evaluation.page import PAGE
from ml.evaluation.reliability import reliability_curve
from ml.evaluation.scores import Flags, Numbers, TestScores
from ml.evaluation.thresholds import verdicts
from ml.inference.engine import Inspector
from ml.inference.explain import heat_map, outline, overlay, read_head, to_png
from ml.settings import Home, LineConfig

# Pictures of each kind of error, the worst first.
_WORST = 6
_SHOWN_SIDE = 220
_SLICE_FIELDS = {"defect_type": "defect type", "camera": "camera", "lot": "lot"}
_MOST_SLICES = 40


def report_path(home: Home, line: str, bundle: str) -> Path:
    """Where the report of a bundle lies."""
    return home.reports(line) / "evaluate" / f"{bundle}.html"


def write_report(
    home: Home,
    line: LineConfig,
    bundle: Bundle,
    test: TestScores,
    fit: Fit,
    latency: dict[str, float],
    threads: int,
) -> Path:
    """Write the report of a bundle on its test images and return its path."""
    p_defect = probabilities(fit, test.raw)
    shown = {**test.raw, "fused": p_defect}
    page = jinja2.Environment(autoescape=True).from_string(PAGE)
    html = page.render(
        line=line,
        bundle=bundle,
        card=bundle.card,
        metrics=[(*name.split(".", 1), metric) for name, metric in bundle.card.metrics.items()],
        curves=plots.curves(shown, test.is_defect) if _both(test.is_defect) else None,
        histograms=plots.histograms(shown, test.is_defect, fit.thresholds),
        confusion=_confusion(p_defect, test.is_defect, fit),
        slices=_slices(test, p_defect, fit),
        worst=_worst(home, Inspector(bundle, threads), test, p_defect),
        reliability=_reliability(test, fit, bundle.card.metrics, line.seed),
        latency=latency,
    )
    path = report_path(home, line.name, bundle.name)
    files.write_bytes(path, html.encode())
    return path


def _both(defect: Flags) -> bool:
    return bool(defect.any() and not defect.all())


def _reliability(test: TestScores, fit: Fit, metrics: dict[str, Metric], seed: int) -> str | None:
    """Reliability diagram of each model and the fusion; None where the images are of one kind."""
    if not _both(test.is_defect):
        return None
    p = {name: model_probabilities(fit, name, raw) for name, raw in test.raw.items()}
    p["fused"] = probabilities(fit, test.raw)
    weights = bootstrap_weights(test.groups, seed)
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


def _slices(test: TestScores, p_defect: Numbers, fit: Fit) -> list[dict[str, Any]]:
    """Outcomes by defect type, camera and lot; a field with a single value is left out."""
    rows = []
    for field, title in _SLICE_FIELDS.items():
        values = np.array([getattr(sample, field) for sample in test.samples])
        names = sorted(set(values) - {""})
        if len(names) < 2 and field != "defect_type":
            continue
        for name in names[:_MOST_SLICES]:
            among = values == name
            good, defect = _confusion(p_defect[among], test.is_defect[among], fit)
            rows.append({"field": title, "name": name, "good": good, "defect": defect})
    return rows


def _worst(
    home: Home, inspector: Inspector, test: TestScores, p_defect: Numbers
) -> list[dict[str, Any]]:
    """The least suspected defects, then the most suspected good parts."""
    defect = test.is_defect
    order = np.argsort(p_defect, kind="stable")
    missed = [index for index in order if defect[index]][:_WORST]
    alarmed = [index for index in order[::-1] if not defect[index]][:_WORST]
    return [_picture(home, inspector, test.samples[index]) for index in [*missed, *alarmed]]


def _picture(home: Home, inspector: Inspector, sample: Sample) -> dict[str, Any]:
    image = read_rgb(home, sample.sha256)
    (found,) = inspector.inspect([image])
    heat = heat_map(found.scored, read_head(inspector.bundle))
    pictures = {"image": image}
    if heat is not None:
        pictures["heat map"] = overlay(image, heat, _hottest(found.scored))
    if sample.mask:
        pictures["mask"] = outline(image, _fitted(read_mask(home, sample.mask), image.shape))
    shown = {name: plots.data_uri(to_png(pixels, _SHOWN_SIDE)) for name, pixels in pictures.items()}
    return {"sample": sample, "decision": found.decision, "found": found, "pictures": shown}


def _hottest(scored: Any) -> float | None:
    # Probabilities have a scale of their own: an empty mask must look empty.
    return 1.0 if scored.defect_map is not None else None


def _fitted(mask: Flags, shape: tuple[int, ...]) -> Flags:
    size = (shape[1], shape[0])
    return np.asarray(cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0)
