"""What evening out the light is worth to the anomaly model, by cross-validation over groups.

    python bench/anomaly_light.py [line ...]

The discriminator with the line's own settings, at one size, sees the images as they are, at one
mean grey level (`gain`), with the local contrast of the network (`local`), and through OpenCV's
CLAHE, which is no part of Loupe. Prints one row for each; the difference is paired, to the light of
the line's file.
"""

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from anomaly import LINES, changed, folds, prepare
from torch import Tensor
from torch.nn import functional

from ml.data.dataset import Dataset, Sample
from ml.evaluation.intervals import bootstrap_weights
from ml.evaluation.metrics import auroc
from ml.inference.engine import open_session
from ml.models.discriminator import PatchHead, TrainingPatches, fit_patch_head
from ml.models.patches import anomaly_features, mean_of_top
from ml.settings import Home, LineConfig
from ml.training.export import export_onnx
from ml.training.pixels import mask_tensor, stream_pixels, to_tensor

LIGHTS = ("as_is", "gain", "local", "clahe")
FOLDS = 3
GOOD, CLEAN, DEFECT = 150_000, 50_000, 50_000
DEFECT_SHARE = 0.15
THREADS = int(os.environ.get("LOUPE_THREADS", "2"))
CLAHE = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8))

Scores = npt.NDArray[np.float64]


def clahe(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """CLAHE (Zuiderveld, 1994) of the lightness of an RGB image."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[..., 0] = CLAHE.apply(lab[..., 0])
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)


def embedded(
    line: LineConfig, home: Home, data: Dataset, light: str
) -> Iterator[tuple[Tensor, Tensor]]:
    """Patches `[h, w, D]` of each image in half precision, and what share of each is defect."""
    shown = "as_is" if light == "clahe" else light
    config = changed(line, light=shown).anomaly
    features = anomaly_features(line.backbone, config, line.seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.onnx"
        export_onnx(features, ("patches", "embedding"), config.size, path)
        session = open_session(path, THREADS)
        for pixels in stream_pixels(
            home, data.samples, config.size, batch=4, masks=True, threads=THREADS
        ):
            images = pixels.images
            if light == "clahe":
                images = np.stack([clahe(one) for one in images])
            batch = to_tensor(images).contiguous().numpy()
            found = torch.from_numpy(session.run(["patches"], {"image": batch})[0])
            masks = functional.adaptive_avg_pool2d(mask_tensor(pixels.masks), found.shape[2:])
            yield from zip(found.permute(0, 2, 3, 1).half(), masks[:, 0], strict=True)


def fitted(
    samples: list[Sample],
    patches: list[Tensor],
    shares: list[Tensor],
    line: LineConfig,
    random: np.random.Generator,
) -> PatchHead:
    """The discriminator, on as many patches as `loupe train` keeps."""

    def some(found: Tensor, most: int) -> Tensor:
        if len(found) <= most:
            return found.float()
        return found[torch.from_numpy(random.permutation(len(found))[:most])].float()

    defects = [i for i, sample in enumerate(samples) if sample.is_defect and sample.mask]
    goods = [i for i, sample in enumerate(samples) if not sample.is_defect]
    good = torch.cat([some(patches[i].flatten(0, 1), GOOD // len(goods)) for i in goods])
    clean, defect, groups = [], [], []
    for i in defects:
        share = shares[i]
        edge = min(DEFECT_SHARE, float(share.max()))
        clean.append(some(patches[i][share == 0], CLEAN // len(defects)))
        defect.append(some(patches[i][(share > 0) & (share >= edge)], DEFECT // len(defects)))
        groups += [samples[i].group] * len(defect[-1])
    size = Counter(groups)
    weight = torch.tensor([1 / size[group] for group in groups])
    found = TrainingPatches(good, torch.cat(clean), torch.cat(defect), weight)
    return fit_patch_head(found, line.anomaly.steps, line.seed)


def scored(line: LineConfig, home: Home, data: Dataset, light: str) -> Scores:
    """Each image's score by the model of the folds that lack its group."""
    patches, shares = map(list, zip(*embedded(line, home, data, light), strict=True))
    fold = folds(data.samples, line.seed, FOLDS)
    random = np.random.default_rng(line.seed)
    raw = np.zeros(len(fold))
    for number in range(FOLDS):
        known = np.flatnonzero(fold != number)
        head = fitted(
            [data.samples[i] for i in known],
            [patches[i] for i in known],
            [shares[i] for i in known],
            line,
            random,
        )
        with torch.inference_mode():
            for i in np.flatnonzero(fold == number):
                found = head(patches[i].float()).reshape(1, -1)
                raw[i] = float(mean_of_top(found, line.anomaly.top_share)[0])
    return raw


def interval(values: Scores, sign: str = "") -> str:
    """A figure with its 95 % interval over resampled groups."""
    low, high = np.nanpercentile(values[1:], [2.5, 97.5])
    return f"{values[0]:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"


def main() -> None:
    """Print the rows of the table in RESULTS.md."""
    torch.set_num_threads(THREADS)
    for name in sys.argv[1:] or LINES:
        line, home, data = prepare(name)
        defect = np.array([sample.is_defect for sample in data.samples])
        weights = bootstrap_weights([sample.group for sample in data.samples], line.seed)
        own = line.anomaly.light
        found = {}
        for light in (own, *(one for one in LIGHTS if one != own)):
            found[light] = auroc(scored(line, home, data, light), defect, weights)
            against = "" if light == own else interval(found[light] - found[own], "+")
            print(f"| {name} | {light} | {interval(found[light])} | {against} |", flush=True)


if __name__ == "__main__":
    main()
