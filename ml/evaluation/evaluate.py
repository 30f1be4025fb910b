"""The `evaluate` step: score, fit on validation, measure on test, seal the bundle, report."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ml import files
from ml.bundle import Bundle, load_bundle
from ml.bundle.card import MaskRule
from ml.bundle.keys import signing_key
from ml.data.dataset import Dataset, Sample, load_dataset, read_rgb
from ml.errors import DataError
from ml.evaluation.calibrate import fit
from ml.evaluation.draft import (
    build_card,
    class_names,
    head_weights,
    reference_rows,
    write_bundle,
)
from ml.evaluation.mask_rule import MaskRuleChoice
from ml.evaluation.pixels import MapEvidence
from ml.evaluation.report import report_path, write_report
from ml.evaluation.scores import TestScores, ValidationScores, score
from ml.evaluation.summary import summarise
from ml.evaluation.synthetic import synthetic_scores
from ml.evaluation.thresholds import require_groups
from ml.imaging import Pixels
from ml.inference.engine import ModelSet
from ml.settings import Env, Home, LineConfig
from ml.training.run import Run, finished_runs

# Changes when this code would make another bundle or report of the same runs.
_RECIPE = 11

_LATENCY_CALLS = 9


@dataclass(frozen=True)
class Evaluated:
    """A sealed bundle and its report."""

    bundle: Bundle
    report: Path


def evaluate(env: Env, home: Home, line: LineConfig, dataset: str) -> Evaluated:
    """Make a bundle of the finished runs of a line on a dataset; found again when it was made.

    Raises TrainingError when a model is not trained, DataError when a split is empty, a validation
    score is no number or validation cannot support the line's ceiling on escapes, BundleError when
    the bundle made before was altered, SettingsError when there is no key to sign with.
    """
    runs = finished_runs(home, line, dataset)
    data = load_dataset(home, line.name, dataset)
    index = home.bundle("index") / f"{_key(line, dataset, runs)}.json"
    made = _made_before(home, line, index)
    if made is not None:
        return made
    signing_key(home)  # raises now rather than after the long work
    require_groups(_some(data, "validation"), line.costs)
    sizes = {name: run.result["size"] for name, run in runs.items()}
    most_false = line.segmenter.max_false_regions
    masks = MaskRuleChoice(home, most_false) if "segmenter" in sizes else None
    models = _open(runs, env.threads)
    validation = score(
        ValidationScores, home, models, _some(data, "validation"), env.threads, masks
    )
    rule, warnings = masks.choose() if masks else (None, [])
    head = head_weights(runs["classifier"].onnx) if "classifier" in runs else None
    maps = MapEvidence(home, sizes, head, class_names(runs) if head is not None else ())
    models = _open(runs, env.threads, rule)
    test = score(TestScores, home, models, _some(data, "test"), env.threads, maps)
    synthetic = synthetic_scores(home, models, validation, line.seed, env.threads)
    fitted = fit(validation, line.costs, line.seed, synthetic)
    fitted = replace(fitted, warnings=(*fitted.warnings, *warnings))
    summary = summarise(test, maps, fitted, line.seed)
    card = build_card(line, data, runs, fitted, summary, rule)
    reference = reference_rows(home, line.name, fitted, [validation, test])
    bundle = write_bundle(home, card, runs, reference)
    first = test.samples[0]
    image = read_rgb(home, first.sha256, first.bits)
    latency = {name: _latency_ms(run, name, image) for name, run in runs.items()}
    speed = {name: run.int8["speed"] for name, run in runs.items() if run.int8 is not None}
    page = write_report(home, line, bundle, test, maps, fitted, latency, speed, env.threads)
    files.write_json(index, {"bundle": bundle.name, "latency_ms": latency})
    return Evaluated(bundle, page)


def _key(line: LineConfig, dataset: str, runs: dict[str, Run]) -> str:
    names = {name: [run.name, files.sha256(run.deployed)] for name, run in runs.items()}
    results = {
        name: [run.result, None if run.int8 is None else run.int8["card"]]
        for name, run in runs.items()
    }
    return files.content_key(
        [
            *(_RECIPE, line.name, line.title, dataset, names, results),
            *(line.costs.model_dump(), line.source.mm_per_pixel),
            line.segmenter.max_false_regions,
        ],
        32,
    )


def _made_before(home: Home, line: LineConfig, index: Path) -> Evaluated | None:
    if not index.exists():
        return None
    name = files.read_json(index)["bundle"]
    if not home.bundle(name).exists():
        return None
    bundle = load_bundle(home, name)
    page = report_path(home, line.name, bundle.name)
    return Evaluated(bundle, page) if page.exists() else None


def _open(runs: dict[str, Run], threads: int = 0, mask_rule: MaskRule | None = None) -> ModelSet:
    return ModelSet(
        {name: run.deployed for name, run in runs.items()},
        {name: run.result["size"] for name, run in runs.items()},
        threads,
        mask_rule,
        tiled={name for name, run in runs.items() if run.result.get("tiled")},
    )


def _some(data: Dataset, split: str) -> tuple[Sample, ...]:
    found = data.split(split)
    if not found:
        msg = f"dataset {data.name} has no {split} images; snapshot a line with more groups"
        raise DataError(msg)
    return found


def _latency_ms(run: Run, name: str, image: Pixels) -> float:
    """Median time of a decoded image, in all its tiles, on this machine; it goes into no bundle."""
    models = _open({name: run})
    times = []
    for _ in range(_LATENCY_CALLS):
        started = time.perf_counter()
        models.score([image])
        times.append(time.perf_counter() - started)
    return round(float(np.median(times)) * 1000, 1)
