"""Fit the anomaly models: patches are streamed from the images, and a bounded number is kept."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ml.data.dataset import Dataset, Sample
from ml.models.discriminator import (
    PatchDiscriminator,
    PatchHead,
    PatchMaps,
    TrainingPatches,
    fit_patch_head,
)
from ml.models.patchcore import PatchCore, greedy_coreset, in_eight_bits
from ml.models.patches import PatchFeatures, anomaly_features, shrinks
from ml.progress import Progress
from ml.settings import Home, LineConfig
from ml.training.device import device, freed_memory_returned, placed
from ml.training.embed import batch_of, embed, images_at_once
from ml.training.enough import require_good
from ml.training.pixels import mask_tensor, stream_pixels
from ml.training.preflight import embedding_batch, log_head_time

# Patches kept, whatever the number of images: they bound memory and the coreset's time.
_CANDIDATES = 40_000
_GOOD, _CLEAN, _DEFECT = 150_000, 50_000, 50_000
# A patch is defective when this share of it is, and clean when nothing of it is.
_DEFECT_SHARE = 0.15


def fit_anomaly(
    home: Home, line: LineConfig, dataset: Dataset, threads: int
) -> tuple[nn.Module, dict[str, Any]]:
    """Fit the PatchCore or discriminator of a line and say what it was fitted on.

    Raises TrainingError when there are too few good images, or the memory does not suffice.
    """
    good = require_good(line, dataset)
    learns = line.anomaly.method == "discriminator"
    defects = _masked_defects(line, dataset) if learns else []
    with freed_memory_returned():
        backbone = line.backbone_of("anomaly")
        features = placed(anomaly_features(backbone, line.anomaly, line.seed))
        at_once = embedding_batch(
            features,
            line.anomaly.size,
            images=len(good) + len(defects),
            patches=_GOOD + _CLEAN + _DEFECT if learns else _CANDIDATES,
            batch=images_at_once(threads),
            passes=sum(scale**2 for scale in line.anomaly.scales),
        )
    if not learns:
        return _fit_patchcore(line, features, _Reader(home, line, features, at_once, threads), good)
    scales = [placed(one) for one in shrinks(line.anomaly)]
    log_head_time(features.width, len(scales), line.anomaly.steps)
    views = [nn.Sequential(shrink, features) for shrink in scales]
    readers = [_Reader(home, line, view, at_once, threads) for view in views]
    fitted = [_fit_head(line, reader, good, defects) for reader in readers]
    maps = PatchMaps(features, scales, [head for head, _ in fitted]).cpu()
    facts = {"good_images": len(good), "labelled_defects": len(defects), **fitted[0][1]}
    return PatchDiscriminator(maps, line.anomaly.top_share), facts


def _fit_patchcore(
    line: LineConfig, features: PatchFeatures, reader: "_Reader", good: Sequence[Sample]
) -> tuple[PatchCore, dict[str, Any]]:
    candidates = reader.good_patches(good, _CANDIDATES)
    chosen = greedy_coreset(candidates, line.anomaly.bank, line.seed)
    bank = in_eight_bits(candidates[chosen])
    facts = {"good_images": len(good), "candidates": len(candidates), "bank": len(bank)}
    return PatchCore(features.cpu(), bank, line.anomaly.top_share), facts


def _fit_head(
    line: LineConfig, reader: "_Reader", good: Sequence[Sample], defects: Sequence[Sample]
) -> tuple[PatchHead, dict[str, Any]]:
    kept = reader.good_patches(good, _GOOD)
    clean, defect, weight = reader.defect_patches(defects, width=kept.shape[1])
    patches = TrainingPatches(*(one.to(device()) for one in (kept, clean, defect, weight)))
    head = fit_patch_head(patches, line.anomaly.steps, line.seed)
    return head, {"good_patches": len(kept), "defect_patches": len(defect)}


def _masked_defects(line: LineConfig, dataset: Dataset) -> list[Sample]:
    train = dataset.split("train") if line.anomaly.labelled else ()
    return [sample for sample in train if sample.is_defect and sample.mask]


class _Reader:
    """Reads bounded numbers of patches from any number of images."""

    def __init__(
        self, home: Home, line: LineConfig, features: nn.Module, at_once: int, threads: int
    ) -> None:
        self._home, self._line, self._features, self._threads = home, line, features, threads
        self._at_once = at_once
        self._random = np.random.default_rng(line.seed)

    def good_patches(self, samples: Sequence[Sample], most: int) -> Tensor:
        """At most `most` patches `[P, D]`, as many from each image; some images where it must."""
        quota = np.full(len(samples), most // len(samples))
        quota[self._random.permutation(len(samples))[: most % len(samples)]] += 1
        used = [sample for sample, count in zip(samples, quota, strict=True) if count]
        # One block from the start: many small ones would lie between the large ones that each image
        # frees, and keep them from the system.
        kept, filled = torch.empty(0), 0
        found = self._read(used, masks=False, stage="embed good images")
        for (patches, _), count in zip(found, quota[quota > 0], strict=True):
            if not filled:
                kept = torch.empty(int(quota.sum()), patches.shape[-1])
            chosen = self._some(patches.flatten(0, 1), count)
            kept[filled : filled + len(chosen)] = chosen
            filled += len(chosen)
        return kept[:filled]

    def defect_patches(
        self, samples: Sequence[Sample], width: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Clean patches, defect patches, and weights that give each group the same say."""
        clean, defect, groups = [torch.empty(0, width)], [torch.empty(0, width)], []
        most = {"clean": _CLEAN // max(len(samples), 1), "defect": _DEFECT // max(len(samples), 1)}
        pairs = self._read(samples, masks=True, stage="embed labelled defects")
        for sample, (patches, mask) in zip(samples, pairs, strict=True):
            assert mask is not None
            height, across, _ = patches.shape
            share = functional.adaptive_avg_pool2d(mask, (height, across))[0]
            # A defect smaller than a patch keeps the patches that it covers most.
            edge = min(_DEFECT_SHARE, float(share.max()))
            clean.append(self._some(patches[share == 0], most["clean"]))
            found = self._some(patches[(share > 0) & (share >= edge)], most["defect"])
            defect.append(found)
            groups += [sample.group] * len(found)
        size = Counter(groups)
        weight = torch.tensor([1 / size[group] for group in groups])
        return torch.cat(clean), torch.cat(defect), weight

    def _read(
        self, samples: Sequence[Sample], *, masks: bool, stage: str
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Patches `[h, w, D]` and mask `[1, H, W]` of each image."""
        size, batch = self._line.anomaly.size, batch_of(self._at_once)
        parts = stream_pixels(
            self._home, samples, size, batch=batch, masks=masks, threads=self._threads
        )
        with Progress(stage, len(samples)) as progress:
            for pixels, patches in embed(self._features, parts, self._at_once):
                found = None if pixels.masks is None else mask_tensor(pixels.masks)
                for index, one in enumerate(patches):
                    yield one, None if found is None else found[index]
                progress.step(len(pixels.images))

    def _some(self, patches: Tensor, most: int) -> Tensor:
        if len(patches) <= most:
            return patches
        return patches[torch.from_numpy(self._random.permutation(len(patches))[:most])]
