"""Fit the segmenter that judges patches: a small head on a bounded number of them.

It is fitted twice. What the first head takes for defects on good images is rare there, and a random
draw has little of it; the second one learns from it too (bootstrapping, Sung and Poggio, PAMI
1998).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from ml.data.dataset import Dataset, Sample
from ml.models.discriminator import PatchHead, PatchMaps, TrainingPatches, fit_patch_head
from ml.models.patch_segmenter import PatchSegmenter
from ml.models.patches import PatchFeatures, shrinks
from ml.progress import Progress
from ml.settings import Home, LineConfig
from ml.training.device import device, placed
from ml.training.embed import batch_of, embed, images_at_once
from ml.training.pixels import Pixels, bytes_in_memory, mask_tensor
from ml.training.preflight import embedding_batch, log_head_time
from ml.training.sampling import is_defect
from ml.training.segmenter import load_masked, require_masks
from ml.training.tiles import count_inputs

# Patches kept, whatever the number of images: they bound the memory.
_GOOD, _HARD, _CLEAN, _DEFECT = 150_000, 75_000, 50_000, 100_000
_MOST = _GOOD + _HARD + _CLEAN + _DEFECT
# A patch is defective when this share of it is, and clean when nothing of it is.
_DEFECT_SHARE = 0.5
# Of a defect that fills no patch, those it covers nearly as much as the one it covers most.
_NEARLY = 0.9


def fit_patch_segmenter(
    home: Home, line: LineConfig, dataset: Dataset, threads: int
) -> tuple[PatchSegmenter, dict[str, Any]]:
    """Fit the head on patches of good images and of masked defects; say what it was fitted on.

    Every defect type has the same say, of a type every group. Raises TrainingError when good
    images, or defects with a mask, are missing or too rare, or the memory does not suffice.
    """
    masked = require_masks(line, dataset)
    features = PatchFeatures(line.backbone, line.segmenter, line.seed)
    count = count_inputs(home, masked.split("train"), line.segmenter, threads)
    features = placed(features)
    at_once = embedding_batch(
        features,
        line.segmenter.input_size,
        images=count,
        patches=_MOST,
        batch=images_at_once(threads),
        held=bytes_in_memory(count, line.segmenter.input_size, True),
        passes=2 * sum(scale**2 for scale in line.segmenter.scales),
        key="segmenter.tile" if line.segmenter.tile else "segmenter.size",
    )
    scales = [placed(one) for one in shrinks(line.segmenter)]
    log_head_time(features.width, 2 * len(scales), line.segmenter.steps)
    (pixels,) = load_masked(home, line, masked, threads)
    views = [nn.Sequential(shrink, features) for shrink in scales]
    fitted = [_fit_head(line, view, pixels, at_once) for view in views]
    maps = PatchMaps(features, scales, [head for head, _ in fitted]).cpu()
    defects = sum(sample.is_defect for sample in pixels.samples)
    facts = {
        "good_images": len(pixels.samples) - defects,
        "labelled_defects": defects,
        **fitted[0][1],
    }
    return PatchSegmenter(maps), facts


def _fit_head(
    line: LineConfig, features: nn.Module, pixels: Pixels, at_once: int
) -> tuple[PatchHead, dict[str, Any]]:
    patches = _kept(features, pixels, line.seed, at_once)
    head = fit_patch_head(patches, line.segmenter.steps, line.seed)
    hard = _hardest(features, head, pixels, at_once).to(device())
    patches = replace(patches, good=torch.cat([patches.good, hard]))
    head = fit_patch_head(patches, line.segmenter.steps, line.seed)
    return head, {"good_patches": len(patches.good), "defect_patches": len(patches.defect)}


def _kept(features: nn.Module, pixels: Pixels, seed: int, at_once: int) -> TrainingPatches:
    """A bounded number of patches, as many from each image of a kind."""
    random = np.random.default_rng(seed)
    defects = sum(sample.is_defect for sample in pixels.samples)
    most = {"good": _GOOD // max(len(pixels.samples) - defects, 1)}
    most |= {"clean": _CLEAN // max(defects, 1), "defect": _DEFECT // max(defects, 1)}
    kept: dict[str, list[Tensor]] = {"good": [], "clean": [], "defect": []}
    owners: list[Sample] = []

    def keep(kind: str, patches: Tensor) -> int:
        chosen = random.permutation(len(patches))[: max(most[kind], 1)]
        kept[kind].append(patches[torch.from_numpy(chosen)])
        return len(chosen)

    for sample, patches, share in _embedded(
        features, pixels, np.arange(len(pixels.samples)), at_once
    ):
        if not sample.is_defect:
            keep("good", patches)
            continue
        edge = min(_DEFECT_SHARE, _NEARLY * float(share.max()))
        keep("clean", patches[share == 0])
        owners += [sample] * keep("defect", patches[(share > 0) & (share >= edge)])
    found = {kind: torch.cat(patches).to(device()) for kind, patches in kept.items()}
    return TrainingPatches(**found, weight=_weight_by_type_and_group(owners).to(device()))


@torch.inference_mode()
def _hardest(features: nn.Module, head: PatchHead, pixels: Pixels, at_once: int) -> Tensor:
    """The patches `[P, D]` of good images that look most like defects, as many from each."""
    good = np.flatnonzero(~is_defect(pixels))
    most = max(_HARD // len(good), 1)
    found = []
    for _, patches, _ in _embedded(features, pixels, good, at_once):
        odds = head(patches.to(device())).cpu()
        found.append(patches[odds.topk(min(most, len(odds))).indices])
    return torch.cat(found)


def _embedded(
    features: nn.Module, pixels: Pixels, which: npt.NDArray[np.int64], at_once: int
) -> Iterator[tuple[Sample, Tensor, Tensor]]:
    """Of each of these images its patches `[P, D]` and the share of each that is defect `[P]`."""
    batch = batch_of(at_once)
    parts = (_part(pixels, which[at : at + batch]) for at in range(0, len(which), batch))
    with Progress("embed patches", len(which)) as progress:
        for part, found in embed(features, parts, at_once):
            assert part.masks is not None
            shares = functional.adaptive_avg_pool2d(
                mask_tensor(part.masks), (found.shape[1], found.shape[2])
            )
            for sample, one, share in zip(part.samples, found, shares, strict=True):
                yield sample, one.flatten(0, 1), share.flatten()
            progress.step(len(part.samples))


def _part(pixels: Pixels, which: npt.NDArray[np.int64]) -> Pixels:
    assert pixels.masks is not None
    samples = tuple(pixels.samples[place] for place in which)
    return Pixels(samples, pixels.images[which], pixels.masks[which])


def _weight_by_type_and_group(owners: Sequence[Sample]) -> Tensor:
    """How often each defect patch is drawn: types alike, in a type its groups."""
    pairs = [(sample.defect_type, sample.group) for sample in owners]
    patches, groups = Counter(pairs), Counter(kind for kind, _ in set(pairs))
    return torch.tensor([1 / (groups[kind] * patches[kind, group]) for kind, group in pairs])
