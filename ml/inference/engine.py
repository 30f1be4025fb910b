"""Run a bundle's ONNX models on decoded images."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from ml.ahead import in_batches
from ml.bundle import Bundle
from ml.bundle.card import MaskRule
from ml.errors import BundleError
from ml.imaging import Pixels, resize_rgb, to_batch, to_rgb
from ml.inference.masks import Flags, draw_mask
from ml.inference.providers import CUDA, gpu_visible, wanted_providers, warn_if_idle
from ml.inference.tiles import cut_tile, merge_tiles, tile_corners
from ml.inference.verdict import Decision, decide

Floats = npt.NDArray[np.float32]
# By output name, an item for each image; those of tiled images differ in size.
ModelOutputs = Mapping[str, Sequence[Floats] | Floats]
Outputs = Mapping[str, ModelOutputs]
Size = tuple[int, int]
Prepared = dict[Size, Pixels]
# The key of an image at its own resolution, which is cut into tiles.
AS_IT_CAME: Size = (0, 0)
# Tiles that go through a model at once: a large image takes no more memory than a small one.
_TILES_AT_ONCE = 8
# Batches that a CPU works on at once, where it has as many cores.
_BATCHES_AT_ONCE = 4

# The defect score of a mask: the mean of its most certain pixels, so that one pixel of noise does
# not fail a part, and a small defect still does.
TOP_SHARE = 0.001


@dataclass(frozen=True)
class Scored:
    """What the models say of one image, before any decision.

    `scores` are raw, by model. `probabilities` `[C]` are the classifier's; `anomaly_map` is
    `[h, w]`; `defect_map` holds defect probabilities `[H, W]`, of which `mask_rule` makes the mask;
    `features` is the classifier's last feature map `[K, h, w]`. Each is None without its model.
    """

    scores: dict[str, float]
    embedding: Floats
    probabilities: Floats | None = field(repr=False, default=None)
    anomaly_map: Floats | None = field(repr=False, default=None)
    defect_map: Floats | None = field(repr=False, default=None)
    features: Floats | None = field(repr=False, default=None)
    mask_rule: MaskRule = field(default_factory=MaskRule)

    @cached_property
    def defect_mask(self) -> Flags | None:
        """The pixels `[H, W]` that the segmenter calls defect."""
        return None if self.defect_map is None else draw_mask(self.defect_map, self.mask_rule)

    @property
    def area(self) -> float | None:
        """Share of the image that the segmenter calls defect."""
        return None if self.defect_mask is None else float(self.defect_mask.mean())


@dataclass(frozen=True)
class Batch:
    """Images that go through the models at once: float32 `[N, 3, H, W]` at each size."""

    images: Sequence[Prepared]
    arrays: dict[Size, Floats]


@dataclass(frozen=True)
class Inspection:
    """A decision and what it rests on."""

    decision: Decision
    defect_type: str
    scored: Scored


class ModelSet:
    """ONNX models that score the same image, loaded once; safe to call from many threads."""

    def __init__(
        self,
        paths: dict[str, Path],
        sizes: dict[str, Size],
        threads: int = 0,
        mask_rule: MaskRule | None = None,
        tiled: Collection[str] = (),
    ) -> None:
        self._tiled = frozenset(tiled)
        self._mask_rule = mask_rule or MaskRule()
        self._sizes = {name: (sizes[name][0], sizes[name][1]) for name in paths}
        self._sessions = {name: open_session(path, threads) for name, path in paths.items()}

    @property
    def wanted(self) -> frozenset[Size]:
        """The sizes that the models want an image at."""
        whole = {size for name, size in self._sizes.items() if name not in self._tiled}
        return frozenset(whole | ({AS_IT_CAME} if self._tiled else set()))

    @property
    def provider(self) -> str:
        """What ONNX Runtime computes on, such as `CPUExecutionProvider`."""
        return next(str(one.get_providers()[0]) for one in self._sessions.values())

    def prepare(self, image: Pixels) -> Prepared:
        """A decoded image at each size that the models want; meant for decoding threads."""
        return prepare(image, self.wanted)

    def score(self, images: Sequence[Pixels]) -> list[Scored]:
        """Score decoded RGB images `[H, W, 3]`, uint8, of any sizes, in one batch."""
        return self.score_prepared([self.prepare(image) for image in images])

    def score_prepared(self, images: Sequence[Prepared]) -> list[Scored]:
        """Score images that `prepare` made, in one batch."""
        return self.read(self.run(gather(images))) if images else []

    def run(self, batch: Batch) -> Outputs:
        """What each model gives for a batch that `gather` made; nothing else, so that the
        processor that runs the models has nothing else to wait for.
        """
        return {
            name: self._run_tiles(name, batch.images)
            if name in self._tiled
            else self._infer(name, batch.arrays[self._sizes[name]])
            for name in self._sessions
        }

    def read(self, outputs: Outputs) -> list[Scored]:
        """The scores and maps of each image, from what `run` gave."""
        count = len(next(iter(next(iter(outputs.values())).values())))
        return [_scored(outputs, index, self._mask_rule) for index in range(count)]

    def _run_tiles(self, name: str, images: Sequence[Prepared]) -> ModelOutputs:
        return {"logits": [self._merged(name, image[AS_IT_CAME])[None] for image in images]}

    def _merged(self, name: str, image: Pixels) -> Floats:
        """Log-odds `[H, W]` of an image of any size."""
        tile, size = self._sizes[name], (image.shape[0], image.shape[1])
        corners = tile_corners(size, tile)
        maps = (
            one[0]
            for some in in_batches(corners, _TILES_AT_ONCE)
            for one in self._infer(
                name, to_batch([cut_tile(image, at, tile) for at in some], tile)
            )["logits"]
        )
        return merge_tiles(maps, corners, size)

    def _infer(self, name: str, batch: Floats) -> dict[str, Floats]:
        session = self._sessions[name]
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, {"image": batch}), strict=True))


class Inspector:
    """The models and the card of one verified bundle: images in, verdicts out."""

    def __init__(self, bundle: Bundle, threads: int = 0) -> None:
        self.bundle = bundle
        self.models = open_models(bundle, threads)

    def inspect(self, images: Sequence[Pixels]) -> list[Inspection]:
        """Inspect decoded RGB images `[H, W, 3]`, uint8, of any sizes, in one batch."""
        return [self.decided(one) for one in self.models.score(images)]

    def decided(self, scored: Scored) -> Inspection:
        """The inspection that follows from what the models say of an image."""
        card = self.bundle.card
        return Inspection(decide(card, scored.scores), defect_type(card.classes, scored), scored)


def prepare(image: Pixels, sizes: Iterable[Size]) -> Prepared:
    """A decoded image, RGB or grey, as RGB at each of these sizes; one decoding serves them all."""
    return {
        size: to_rgb(image if size == AS_IT_CAME else resize_rgb(image, size)) for size in sizes
    }


def gather(images: Sequence[Prepared]) -> Batch:
    """A batch of images that `prepare` made at the same sizes."""
    sizes = set(images[0]) - {AS_IT_CAME}
    return Batch(images, {size: to_batch([one[size] for one in images], size) for size in sizes})


def open_models(bundle: Bundle, threads: int = 0) -> ModelSet:
    """The models of a bundle; raises BundleError when ONNX Runtime cannot load one."""
    models = bundle.card.models
    return ModelSet(
        {name: bundle.model(name) for name in models},
        {name: model.size for name, model in models.items()},
        threads,
        models["segmenter"].mask_rule if "segmenter" in models else None,
        tiled={name for name, model in models.items() if model.tiled},
    )


def share_threads(threads: int) -> tuple[int, int]:
    """Batches that go through the models at once, and the threads of each.

    On a CPU the operators of one batch scale worse over threads than batches do, and wait whenever
    another stage has one of their cores. Each batch takes memory of its own, hence a limit.
    """
    if CUDA in onnxruntime.get_available_providers() and gpu_visible():
        return 1, threads
    batches = max(1, min(threads, _BATCHES_AT_ONCE))
    return batches, threads // batches


def lacks_memory(error: Exception) -> bool:
    """Whether ONNX Runtime failed for want of memory: a retry may cure that."""
    return isinstance(error, MemoryError) or "alloc" in str(error).lower()


def open_session(path: Path, threads: int = 0) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session; raises BundleError when the file is not a model, or MemoryError."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that wait for work would keep the cores from decoding, and from the other models.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=wanted_providers())
    except Exception as error:  # ONNX Runtime's own errors share no base class
        if lacks_memory(error):
            raise MemoryError(str(error)) from error
        msg = f"{path}: ONNX Runtime cannot load it: {error}"
        raise BundleError(msg) from error
    warn_if_idle(session.get_providers())
    return session


def raw_score(model: str, outputs: ModelOutputs, index: int) -> float:
    """The raw defect score of one image of a batch, from the model's outputs by name."""
    if model == "classifier":
        return class_score(outputs["logits"][index])
    if model == "segmenter":
        return mask_score(outputs["logits"][index][0])
    return float(outputs["score"][index])


def mask_score(logits: Floats) -> float:
    """Mean of the top 0.1 % of pixel log-odds, at least one pixel."""
    count = max(1, int(logits.size * TOP_SHARE))
    top = np.partition(logits, logits.size - count, axis=None)[-count:]
    return float(top.mean())


def class_score(logits: Floats) -> float:
    """Log-odds of any defect against ok, from logits `[C]`."""
    defects = logits[1:].astype(np.float64)
    highest = defects.max()
    return float(highest + np.log(np.exp(defects - highest).sum()) - logits[0])


def _scored(outputs: Outputs, index: int, mask_rule: MaskRule) -> Scored:
    scores = {name: raw_score(name, found, index) for name, found in outputs.items()}
    probabilities = features = anomaly_map = defect_map = None
    embedding = np.zeros(0, np.float32)
    if "classifier" in outputs:
        logits = outputs["classifier"]["logits"][index]
        probabilities = _softmax(logits)
        features = outputs["classifier"]["features"][index]
        embedding = outputs["classifier"]["embedding"][index]
    if "segmenter" in outputs:
        mask_logits = outputs["segmenter"]["logits"][index][0]
        defect_map = _sigmoid(mask_logits)
    if "anomaly" in outputs:
        anomaly_map = outputs["anomaly"]["map"][index][0]
        # The frozen backbone's view does not change with each retraining, so drift watches it.
        embedding = outputs["anomaly"]["embedding"][index]
    maps = (anomaly_map, defect_map, features)
    return Scored(scores, embedding, probabilities, *maps, mask_rule)


def defect_type(classes: tuple[str, ...], scored: Scored) -> str:
    """The likeliest of the defect types `classes[1:]`; empty without a classifier."""
    if scored.probabilities is None:
        return ""
    return classes[1 + int(np.argmax(scored.probabilities[1:]))]


def _softmax(logits: Floats) -> Floats:
    exponents = np.exp(logits - logits.max())
    return np.asarray(exponents / exponents.sum(), np.float32)


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -60, 60))), np.float32)
