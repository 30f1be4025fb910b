"""The anomaly models on real lines, against anomalib's PatchCore in the same run.

    python bench/anomaly.py [line ...]

Needs the images that the line files name, and `LOUPE_PEER`: a Python with anomalib 2.7 installed
(an environment of its own, as its pins differ). Each contender fits and scores in a process of its
own, one after the other, on the same images at the same size. The table goes into RESULTS.md.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from result_tables import put

from ml.data.dataset import Dataset, Sample, load_dataset
from ml.data.split import split_groups
from ml.settings import Home, LineConfig, load_line

PROJECT = Path(__file__).parents[1]
ROOT = PROJECT / ".loupe-bench" / "anomaly"
PEER = PROJECT / "bench" / "peers" / "anomalib_patchcore.py"
LINES = ("magnetic_tile", "kolektor_sdd")
BANK = 1000
FOLDS = 5
CONTENDERS = {
    "peer": "anomalib's PatchCore",
    "ours": "Loupe's PatchCore",
    "best": "the line's own settings",
}
# What the methods are compared at: one scale, and a size that the peer trains at in minutes.
SIZES = {"magnetic_tile": (224, 224), "kolektor_sdd": (480, 192)}
THREADS = 2
# AUPRO up to this false-positive rate (Bergmann et al., IJCV 2021).
LIMIT = 0.3

Array = npt.NDArray[Any]


def prepare(name: str) -> tuple[LineConfig, Home, Dataset]:
    """The line ingested and split by the product's own steps, in a home of its own."""
    line = load_line(PROJECT / "lines" / f"{name}.toml")
    home = Home(ROOT / name)
    record = home.root / "dataset.json"
    if not record.exists():
        batch = loupe(home, "ingest", "--line", name)["batch"]
        loupe(home, "validate", "--line", name, "--batch", batch)
        record.write_text(json.dumps(loupe(home, "snapshot", "--line", name)))
    return line, home, load_dataset(home, name, json.loads(record.read_text())["dataset"])


def resplit(dataset: Dataset, line: LineConfig, seed: int) -> Dataset:
    """The dataset with its groups dealt out by another seed."""
    kinds = [(one.group, one.defect_type or "ok") for one in dataset.samples]
    split = split_groups(kinds, line.split.model_copy(update={"seed": seed}))
    samples = tuple(replace(one, split=split[one.group]) for one in dataset.samples)
    return Dataset(dataset.name, samples, {})


def loupe(home: Home, *command: str) -> Any:
    """One step; its JSON result."""
    done = subprocess.run(
        [sys.executable, "-m", "ml.cli", *command],
        cwd=PROJECT,
        env={**os.environ, "LOUPE_HOME": str(home.root)},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def changed(line: LineConfig, **keys: Any) -> LineConfig:
    """The line with an anomaly model of one scale, and these keys of its section changed."""
    keys |= {"size": SIZES[line.name], "scales": (1.0,)}
    return line.model_copy(update={"anomaly": line.anomaly.model_copy(update=keys)})


def plain(line: LineConfig) -> LineConfig:
    """The line with a PatchCore that the peer can match: same size, strides and bank."""
    return changed(line, method="patchcore", strides=(8, 16), light="as_is", bank=BANK)


def ours(line: LineConfig, home: Home, dataset: Dataset) -> dict[str, Any]:
    """Fit as `loupe train` does, export, score through ONNX Runtime as the night does."""
    from ml.data.dataset import read_rgb
    from ml.inference.engine import ModelSet
    from ml.models.patches import OUTPUTS
    from ml.training.anomaly import fit_anomaly
    from ml.training.export import export_onnx

    before = kilobytes("VmRSS")
    started = time.perf_counter()
    model, _ = fit_anomaly(home, line, dataset, THREADS)
    fitted = time.perf_counter()
    peak = kilobytes("VmHWM")
    path = ROOT / f"{line.name}.onnx"
    export_onnx(model, OUTPUTS, line.anomaly.size, path)
    models = ModelSet({"anomaly": path}, {"anomaly": line.anomaly.size}, THREADS)
    test = dataset.split("test")
    images = [models.prepare(read_rgb(home, sample.sha256)) for sample in test]
    begun = time.perf_counter()
    found = [
        one
        for at in range(0, len(images), 16)
        for one in models.score_prepared(images[at : at + 16])
    ]
    spent = time.perf_counter() - begun
    single = [timed(lambda one=one: models.score_prepared([one])) for one in images[:20]]
    return {
        "scores": [one.scores["anomaly"] for one in found],
        "maps": np.array([one.anomaly_map for one in found], np.float16),
        "figures": {
            "fit_s": fitted - started,
            "peak_mb": peak / 1024,
            "extra_mb": (peak - before) / 1024,
            "score_ms": float(np.median(single)) * 1000,
            "images_per_s": len(images) / spent,
        },
    }


def peer(line: LineConfig, home: Home, dataset: Dataset) -> dict[str, Any]:
    """anomalib on the same images, decoded for it beforehand."""
    from ml.training.pixels import load_pixels

    stem = ROOT / f"{line.name}-peer"
    good = [sample for sample in dataset.split("train") if not sample.is_defect]
    for name, samples in (("train", good), ("test", dataset.split("test"))):
        pixels = load_pixels(home, samples, line.anomaly.size, masks=False, threads=THREADS)
        np.save(f"{stem}.{name}.npy", pixels.images)
    options = {
        "backbone": line.backbone.name,
        "weights": line.backbone.weights,
        "pad_same": line.backbone.pad_same,
        "mean": line.backbone.mean,
        "std": line.backbone.std,
        "strides": line.anomaly.strides,
        "bank": line.anomaly.bank,
        "seed": line.seed,
        "threads": THREADS,
    }
    Path(f"{stem}.json").write_text(json.dumps(options))
    python = os.environ.get("LOUPE_PEER")
    if not python:
        sys.exit("LOUPE_PEER must name a Python with anomalib 2.7")
    subprocess.run([python, str(PEER), str(stem)], check=True, stdout=sys.stderr)
    with np.load(f"{stem}.npz") as found:
        return {
            "scores": found["scores"],
            "maps": found["maps"],
            "figures": json.loads(str(found["figures"])),
        }


def quality(
    found: dict[str, Any], home: Home, samples: tuple[Sample, ...], line: LineConfig
) -> dict[str, float]:
    """Image AUROC and AP (all, and AUROC by defect type); pixel AUROC and AUPRO."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    from ml.training.pixels import load_pixels

    scores = np.asarray(found["scores"])
    defect = np.array([sample.is_defect for sample in samples])
    types = np.array([sample.defect_type for sample in samples])
    result = {
        "auroc": roc_auc_score(defect, scores),
        "ap": average_precision_score(defect, scores),
    }
    for kind in sorted(set(types[defect])):
        chosen = ~defect | (types == kind)
        result[f"auroc {kind}"] = roc_auc_score(defect[chosen], scores[chosen])
    masks = load_pixels(home, samples, line.anomaly.size, masks=True, threads=THREADS).masks
    size = line.anomaly.size[::-1]
    maps = np.stack([cv2.resize(one.astype(np.float32), size) for one in found["maps"]])
    result["pixel_auroc"] = roc_auc_score(masks.ravel(), maps.ravel())
    result["aupro"] = aupro(maps, masks)
    return result


def aupro(maps: Array, masks: Array, steps: int = 2000) -> float:
    """Mean overlap with each connected region against the false-positive rate, up to LIMIT."""
    clean = np.sort(maps[masks == 0])
    rates = np.linspace(0, LIMIT, steps)
    edges = clean[np.minimum(len(clean) - 1, np.round((1 - rates) * len(clean)).astype(int))]
    overlaps = []
    for heat, mask in zip(maps, masks, strict=True):
        count, regions = cv2.connectedComponents(mask)
        for number in range(1, count):
            inside = np.sort(heat[regions == number])
            overlaps.append(1 - np.searchsorted(inside, edges, side="right") / len(inside))
    return float(np.trapezoid(np.mean(overlaps, axis=0), rates) / LIMIT)


def cross_validated(line: LineConfig, home: Home, dataset: Dataset) -> dict[str, float]:
    """AUROC of scores that each fold's model gave to groups it never saw, standardised by fold."""
    from ml.evaluation.intervals import bootstrap_weights
    from ml.evaluation.metrics import auroc

    raw = np.zeros(len(dataset.samples))
    fold = folds(dataset.samples, line.seed)
    for number in range(FOLDS):
        samples = tuple(
            replace(sample, split="test" if of == number else "train")
            for sample, of in zip(dataset.samples, fold, strict=True)
        )
        found = np.asarray(ours(line, home, Dataset(dataset.name, samples, {}))["scores"])
        raw[fold == number] = found
    defect = np.array([sample.is_defect for sample in dataset.samples])
    types = np.array([sample.defect_type for sample in dataset.samples])
    weights = bootstrap_weights([sample.group for sample in dataset.samples], line.seed)
    result = {}
    for kind in ("", *sorted(set(types[defect]))):
        chosen = ~defect | (types == kind) if kind else np.ones(len(raw), bool)
        values = auroc(raw[chosen], defect[chosen], weights[:, chosen])
        low, high = np.nanpercentile(values[1:], [2.5, 97.5])
        result[kind or "all"] = f"{values[0]:.3f} ({low:.2f}–{high:.2f})"
    return result


def folds(samples: tuple[Sample, ...], seed: int, count: int = FOLDS) -> npt.NDArray[np.int64]:
    """A fold for each sample: groups are dealt out, kind by kind."""
    kinds: dict[str, str] = {}
    for sample in samples:
        kinds[sample.group] = max(kinds.get(sample.group, ""), sample.defect_type)
    random = np.random.default_rng(seed)
    order = sorted(kinds, key=lambda group: (kinds[group], random.random()))
    number = {group: index % count for index, group in enumerate(order)}
    return np.array([number[sample.group] for sample in samples])


def kilobytes(field: str) -> int:
    """`VmHWM` (peak) or `VmRSS` (now) of this process."""
    rows = Path("/proc/self/status").read_text().splitlines()
    return int(dict(row.split(":", 1) for row in rows)[field].split()[0])


def timed(action: Any) -> float:
    """Seconds that a call takes."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def contend(name: str, kind: str) -> dict[str, Any]:
    """One contender in a process of its own, so that its memory is its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--one", name, kind],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def one(name: str, kind: str) -> dict[str, Any]:
    """The figures of `ours`, `best`, `peer` or `folds`."""
    line, home, dataset = prepare(name)
    if kind == "folds":
        return cross_validated(line, home, dataset)
    line = line if kind == "best" else plain(line)
    found = (peer if kind == "peer" else ours)(line, home, dataset)
    return found["figures"] | quality(found, home, dataset.split("test"), line)


def main() -> None:
    """Measure and write the table."""
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(one(*sys.argv[2:4]), default=float))
        return
    for name in sys.argv[1:] or LINES:
        prepare(name)
        for kind in CONTENDERS:
            put_row(name, kind, contend(name, kind))
        put_row(name, "folds", contend(name, "folds"))


def put_row(name: str, kind: str, found: dict[str, Any]) -> None:
    """Put a row into its table in RESULTS.md."""
    if kind == "folds":
        whole, *parts = (f"{key} {value}" for key, value in found.items())
        put("anomaly folds", f"| {name} | {whole.removeprefix('all ')} | {'; '.join(parts)} |")
    else:
        types = "; ".join(
            f"{key.removeprefix('auroc ')} {value:.3f}"
            for key, value in found.items()
            if key.startswith("auroc ")
        )
        speed = f"{found['fit_s']:.0f} | {found['extra_mb']:.0f} | {found['score_ms']:.0f}"
        quality = " | ".join(f"{found[key]:.3f}" for key in ("auroc", "ap", "pixel_auroc", "aupro"))
        row = f"| {name} | {CONTENDERS[kind]} | {speed} | {quality} | {types} |"
        put("anomaly contenders", row, key=2)


if __name__ == "__main__":
    main()
