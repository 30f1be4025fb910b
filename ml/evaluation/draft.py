"""The build side of a bundle: models, card and drift reference into a sealed folder."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ml import files
from ml.bundle import Bundle, Card, seal_bundle
from ml.bundle.card import BackboneCard, Int8Card, MaskRule, ModelCard
from ml.bundle.load import CARD, REFERENCE
from ml.data import catalog
from ml.data.dataset import Dataset
from ml.data.measure import MEASURES
from ml.errors import BundleError
from ml.evaluation.calibrate import Fit, probabilities
from ml.evaluation.scores import Scores
from ml.evaluation.summary import Summary
from ml.inference.explain import HEAD
from ml.inference.rows import stored_probability
from ml.settings import Home, LineConfig
from ml.training.run import Run

# Enough for the drift tests, small enough to read in a moment.
REFERENCE_ROWS = 2000
_DECIMALS = 5


def build_card(
    line: LineConfig,
    dataset: Dataset,
    runs: dict[str, Run],
    fit: Fit,
    summary: Summary,
    mask_rule: MaskRule | None,
) -> Card:
    """The card of a bundle of these runs; `mask_rule` is the segmenter's."""
    first = next(iter(runs.values())).result
    models = {
        name: ModelCard(
            size=run.result["size"],
            tiled=run.result.get("tiled", False),
            calibration=fit.calibration[name],
            fusion_weight=fit.weights[name],
            parity=run.result["parity"],
            parity_images=run.result["parity_images"],
            int8=None if run.int8 is None else Int8Card(**run.int8["card"]),
            method=line.anomaly.method if name == "anomaly" else "",
            mask_rule=mask_rule if name == "segmenter" else None,
            backbone=_other_backbone(run.result["backbone"], first["backbone"]),
            facts=run.result["facts"],
        )
        for name, run in runs.items()
    }
    said = [warning for run in runs.values() for warning in run.result["warnings"]]
    return Card(
        line=line.name,
        classes=class_names(runs),
        models=models,
        fusion_intercept=fit.intercept,
        thresholds=fit.thresholds,
        backbone=BackboneCard(**first["backbone"]),
        dataset=dataset.name,
        dataset_counts=dataset.counts,
        code=", ".join(sorted({str(run.result["code"]) for run in runs.values()})),
        seed=line.seed,
        metrics=summary.metrics,
        mm_per_pixel=line.source.mm_per_pixel,
        bits=dataset.samples[0].bits,
        warnings=tuple(dict.fromkeys([*said, *fit.warnings, *summary.warnings])),
    )


def _other_backbone(own: dict[str, Any], first: dict[str, Any]) -> BackboneCard | None:
    return None if own == first else BackboneCard(**own)


def class_names(runs: dict[str, Run]) -> tuple[str, ...]:
    """`ok` and the defect types; one nameless type where no classifier tells them apart."""
    return tuple(runs["classifier"].result["classes"]) if "classifier" in runs else ("ok", "defect")


def write_bundle(home: Home, card: Card, runs: dict[str, Run], reference: pa.Table) -> Bundle:
    """Write the draft folder and seal it. Equal content gives the same bundle."""
    draft = home.bundle(f".draft-{files.content_key([run.name for run in runs.values()])}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    for name, run in runs.items():
        shutil.copyfile(run.deployed, draft / f"{name}.onnx")
    if "classifier" in runs:
        np.save(draft / HEAD, head_weights(runs["classifier"].onnx))
    files.write_json(draft / CARD, card.model_dump(mode="json"))
    pq.write_table(reference, draft / REFERENCE)
    return seal_bundle(home, draft)


def head_weights(path: Path) -> npt.NDArray[np.float32]:
    """Weights `[C, K]` of the linear layer behind `logits`, from the ONNX file's constants.

    Raises BundleError when `logits` does not come from one linear layer.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(path)).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if "logits" in node.output and node.op_type == "Gemm" and node.input[1] in constants:
            weights = numpy_helper.to_array(constants[node.input[1]])
            turned = any(part.name == "transB" and part.i for part in node.attribute)
            return np.ascontiguousarray(weights if turned else weights.T, np.float32)
    msg = f"{path}: `logits` is not the output of one linear layer; export the classifier again"
    raise BundleError(msg)


def reference_rows(home: Home, line: str, fit: Fit, splits: list[Scores]) -> pa.Table:
    """The drift reference: measures, embedding and scores of accepted images, by SHA-256.

    Groups are kept or left out as a whole: a night's groups are whole, too. Of those that are
    defects altogether there are no more than the line's prevalence asks for, or else every night of
    a plant whose labelled images are half defects would look like drift.
    `splits` are validation and test: a model is too sure of the images that it was trained on.
    """
    images = {row["sha256"]: row for row in catalog.read_images(home, line).to_pylist()}
    rows: list[dict[str, Any]] = []
    for scores in (split for split in splits if split.samples):
        p_defect = probabilities(fit, scores.raw)
        for index, sample in enumerate(scores.samples):
            image = images.get(sample.sha256)
            if image is None:
                continue
            row: dict[str, Any] = {
                "sha256": sample.sha256,
                "part": sample.part,
                "group": sample.group,
                "camera": sample.camera,
                "split": sample.split,
                "day": sample.day,
            }
            row |= {name: float(image[name]) for name in MEASURES}
            row |= {f"score_{name}": _plain(raw[index]) for name, raw in scores.raw.items()}
            row["p_defect"] = stored_probability(p_defect[index])
            row["embedding"] = scores.embeddings[index]
            rows.append(row)
    with_good = {one.group for scores in splits for one in scores.samples if not one.is_defect}
    kept = _whole_groups(rows, with_good, fit.thresholds.prevalence)
    rows = sorted(kept, key=lambda row: str(row["sha256"]))
    return pa.Table.from_pylist(rows, schema=_schema(splits[0]))


def _whole_groups(
    rows: list[dict[str, Any]], with_good: set[str], prevalence: float | None
) -> list[dict[str, Any]]:
    """Groups in an order that nothing depends on, until `REFERENCE_ROWS` are there."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["group"], []).append(row)
    order = sorted(groups, key=lambda group: hashlib.sha256(group.encode()).digest())
    if prevalence is not None:
        good = [group for group in order if group in with_good]
        wanted = round(len(good) * prevalence / (1 - prevalence))
        defective = [group for group in order if group not in with_good][:wanted]
        kept_groups = {*good, *defective}
        order = [group for group in order if group in kept_groups]
    kept: list[dict[str, Any]] = []
    for name in order:
        if kept and len(kept) + len(groups[name]) > REFERENCE_ROWS:
            break
        kept += groups[name]
    return kept


def _schema(scores: Scores) -> pa.Schema:
    numbers = [*MEASURES, *(f"score_{name}" for name in scores.raw), "p_defect"]
    return pa.schema(
        [
            ("sha256", pa.string()),
            ("part", pa.string()),
            ("group", pa.string()),
            ("camera", pa.string()),
            ("split", pa.string()),
            ("day", pa.string()),
            *((name, pa.float64()) for name in numbers),
            ("embedding", pa.list_(pa.float32())),
        ]
    )


def _plain(value: float) -> float:
    return round(float(value), _DECIMALS)
