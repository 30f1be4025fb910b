"""Inspect shards of a day in one pass: read → decode → preprocess → infer → decide → write.

Each stage has workers of its own, and the queue before it is bounded (`ml.ahead`): memory does not
grow with the night, and the slowest stage sets the pace.
"""

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby

import pyarrow as pa

from ml import files
from ml.ahead import run_ahead
from ml.bundle import load_bundle
from ml.data import predicted
from ml.errors import BundleError, ImageError, StorageError
from ml.imaging import decode
from ml.inference.engine import (
    Batch,
    Inspection,
    Inspector,
    Outputs,
    Prepared,
    Size,
    gather,
    lacks_memory,
    prepare,
    share_threads,
)
from ml.inference.night import Plan, shard_rows
from ml.inference.rows import Row, prediction
from ml.inference.speed import Record, Stage, binding, describe, write_speed
from ml.inference.verdict import Decision, hold
from ml.progress import Progress
from ml.settings import Home

log = logging.getLogger(__name__)

# Batches that wait before each stage: no stage waits for another's hiccup.
_BATCHES_AHEAD = 3
# Shards that wait to be written while the next one is inspected.
_SHARDS_AHEAD = 1
# Files read at once; on a network volume they wait more than they work.
_READERS = 4
_FAILED = "the models failed"
# Images of a shard that all cannot be read: then it is the storage, not the images. Of one alone
# nobody can tell.
_LEAST_UNREAD = 2

Opened = Prepared | Decision
# The champion's row of an image, and the shadow's where there is one.
Pair = tuple[Row, Row | None]


@dataclass(frozen=True)
class Predicted:
    """What some shards of a night came to; `stages` and the rates are measured."""

    bundle: str
    counts: dict[str, int]
    images: int
    images_per_s: float
    stages: dict[str, Record]

    @property
    def binds(self) -> str:
        """The stage that the others waited for."""
        return binding(self.stages)


@dataclass(frozen=True)
class _Work:
    """Images of one shard on their way: those that are not held go through the models at once.

    `outputs` are the champion's and the shadow's; None where the models failed.
    """

    images: list[Row]
    held: list[Decision | None]
    batch: Batch | None = None
    outputs: Sequence[Outputs | None] = ()


def predict_shards(
    home: Home,
    plan: Plan,
    shards: Sequence[int],
    batch: int,
    threads: int,
    *,
    last_try: bool = False,
) -> Predicted:
    """Inspect shards and replace their rows in the predictions, each shard in one commit.

    Without a usable bundle every part is held for review; nothing is skipped, nothing passed.
    Raises StorageError when the storage gives neither the bundle nor any image of a shard, which a
    retry may cure; on the `last_try` these parts are held, too: a night ends with every part.
    """
    started = time.monotonic()
    images = shard_rows(home, plan, shards)
    pipeline = _Pipeline(home, plan, threads, last_try)
    counts = dict.fromkeys(("pass", "fail", "review"), 0)
    with Progress("inspect", sum(plan.sizes[one] for one in shards)) as progress:
        for found in pipeline.written(pipeline.rows(images, batch)):
            counts = {name: count + found[name] for name, count in counts.items()}
            progress.step(found.total())
    total = sum(counts.values())
    seconds = max(time.monotonic() - started, 1e-6)
    stages = {stage.name: stage.record() for stage in pipeline.stages}
    log.info("%s", describe(stages))
    if pipeline.provider and total:
        record = {
            "shards": list(shards),
            "images": total,
            "seconds": round(seconds, 3),
            "batch": batch,
            "provider": pipeline.provider,
            "stages": stages,
        }
        write_speed(home, plan.line, plan.day, record)
    return Predicted(plan.bundle, counts, total, round(total / seconds, 1), stages)


class _Pipeline:
    """The stages between the images of a plan and their rows.

    The shadow, where there is one, gets the same pixels and has rows and a table of its own: what
    becomes of it changes no verdict.
    """

    def __init__(self, home: Home, plan: Plan, threads: int, last_try: bool) -> None:
        self._home = home
        self._plan = plan
        self._threads = threads
        self._last_try = last_try
        self._unread: set[str] = set()  # images that the storage may give at the next try
        self._inspector: Inspector | None = None
        self._shadow: Inspector | None = None
        self._reason = "no champion bundle"
        inferring, threads_each = share_threads(threads)
        workers = {"read": _READERS, "decode": threads, "preprocess": threads}
        workers |= {"infer": inferring, "decide": threads, "write": 1}
        self.stages = [Stage(name, count) for name, count in workers.items()]
        try:
            if plan.bundle:
                bundle = load_bundle(home, plan.bundle, plan.line)
                self._inspector = Inspector(bundle, threads_each)
            else:
                log.error("every part is held: the line has no champion; promote a bundle")
        except BundleError as error:
            log.error("every part is held: %s", error)
            self._reason = "the bundle was refused"
        except StorageError as error:
            if not last_try:
                raise
            log.error("every part is held, as this is the last try: %s", error)
            self._reason = "the bundle cannot be read"
        if plan.shadow and self._inspector is not None:
            with _beside(plan):
                self._shadow = _open_shadow(home, plan, self._inspector, threads_each)

    @property
    def provider(self) -> str:
        return "" if self._inspector is None else self._inspector.models.provider

    def rows(self, images: Iterable[Row], batch: int) -> Iterator[Pair]:
        """The rows of the images, in order."""
        if self._inspector is None:
            for image in images:
                held = hold(image.get("held") or self._reason)
                yield self._row(image, held, None), None
            return
        inspectors = [self._inspector] + ([self._shadow] if self._shadow else [])
        threads = self._threads
        sizes = frozenset(size for one in inspectors for size in one.models.wanted)
        bits = self._inspector.bundle.card.bits
        read, decoding, preprocess, infer, decide, _ = self.stages
        ahead = _BATCHES_AHEAD * batch
        contents = run_ahead(read.timed(self._read), images, threads=_READERS, ahead=ahead)
        opened = run_ahead(
            decoding.timed(lambda one: _decode(sizes, bits, *one)),
            contents,
            threads=threads,
            ahead=ahead,
        )
        gathered = run_ahead(
            preprocess.timed(_gather, len),
            _full_batches(opened, batch),
            threads=threads,
            ahead=_BATCHES_AHEAD,
        )
        inferred = run_ahead(
            infer.timed(lambda work: _infer(inspectors, work), _inspected),
            gathered,
            threads=infer.workers,
            ahead=_BATCHES_AHEAD,
        )
        decided = run_ahead(
            decide.timed(lambda work: self._decide(inspectors, work), lambda w: len(w.images)),
            inferred,
            threads=threads,
            ahead=_BATCHES_AHEAD,
        )
        for pairs in decided:
            yield from pairs

    def written(self, rows: Iterable[Pair]) -> Iterator[Counter[str]]:
        """Commit the rows shard by shard; the verdicts of each."""
        write = self.stages[-1]
        shards = (list(group) for _, group in groupby(rows, key=lambda pair: pair[0]["shard"]))
        return run_ahead(write.timed(self._write, len), shards, threads=1, ahead=_SHARDS_AHEAD)

    def _read(self, image: Row) -> tuple[Row, bytes | Decision]:
        # The plan says why; beside a plan of an earlier Loupe it says nothing.
        if held := image.get("held"):
            return image, hold(held)
        try:
            content = self._home.object(image["sha256"]).read_bytes()
        except OSError as error:
            log.error("%s: %s", image["object"], error)
            if files.may_pass(error):
                self._unread.add(image["object"])
            return image, hold("the stored image cannot be read")
        if hashlib.sha256(content).hexdigest() != image["sha256"]:
            log.error("%s: stored as %s, which it is not", image["object"], image["sha256"])
            return image, hold("the stored image was altered")
        return image, content

    def _decide(self, inspectors: Sequence[Inspector], work: _Work) -> list[Pair]:
        champion, *shadow = inspectors
        rows = self._rows(champion, work, 0)
        beside: list[Row] | list[None] = [None] * len(rows)
        for inspector in shadow:
            with _beside(self._plan):
                beside = self._rows(inspector, work, 1)
        return list(zip(rows, beside, strict=True))

    def _rows(self, inspector: Inspector, work: _Work, at: int) -> list[Row]:
        pairs = zip(work.images, _outcomes(inspector, work, at), strict=True)
        return [self._row(image, outcome, inspector) for image, outcome in pairs]

    def _row(self, image: Row, outcome: Inspection | Decision, inspector: Inspector | None) -> Row:
        if inspector is None:
            return prediction(self._plan.day, self._plan.bundle, image, outcome, None)
        bundle = inspector.bundle
        return prediction(self._plan.day, bundle.name, image, outcome, bundle.card)

    def _write(self, pairs: list[Pair]) -> Counter[str]:
        rows = [row for row, _ in pairs]
        if not self._last_try:
            self._require_storage(rows)
        shadow = [row for _, row in pairs if row is not None]
        self._commit(rows, "predictions")
        if shadow:
            with _beside(self._plan):
                self._commit(shadow, "shadow")
        return Counter(row["verdict"] for row in rows)

    def _require_storage(self, rows: list[Row]) -> None:
        # What the plan holds was not asked for.
        asked = [row["object"] for row in rows if not predicted.is_held_unread(row)]
        if len(asked) >= _LEAST_UNREAD and self._unread.issuperset(asked):
            shard = rows[0]["shard"]
            msg = f"{self._plan.line}, {self._plan.day}, shard {shard}: the storage gave none of "
            msg += f"{len(asked)} images; run it again, or with LOUPE_LAST_TRY=1 to hold the parts"
            raise StorageError(msg)

    def _commit(self, rows: list[Row], name: str) -> None:
        plan, table = self._plan, pa.Table.from_pylist(rows, schema=predicted.SCHEMA)
        predicted.write_shard(self._home, plan.line, plan.day, rows[0]["shard"], table, name)


def _open_shadow(home: Home, plan: Plan, champion: Inspector, threads: int) -> Inspector:
    """A challenger that can judge the champion's pixels; raises BundleError where it cannot."""
    shadow, bits = load_bundle(home, plan.shadow, plan.line), champion.bundle.card.bits
    if shadow.card.bits != bits:
        name, its = plan.shadow, shadow.card.bits
        msg = f"{name} reads 16-bit images by {its} bits, the champion by {bits}"
        raise BundleError(msg)
    return Inspector(shadow, threads)


@contextmanager
def _beside(plan: Plan) -> Iterator[None]:
    """What fails in here concerns the shadow alone: it is said, and the night goes on."""
    try:
        yield
    except Exception:
        log.exception("%s, %s: the shadow %s is left out here", plan.line, plan.day, plan.shadow)


def _outcomes(inspector: Inspector, work: _Work, at: int) -> Iterator[Inspection | Decision]:
    """What one bundle says of each image."""
    outputs = work.outputs[at] if work.outputs else None
    scored = iter(inspector.models.read(outputs) if outputs else ())
    for held in work.held:
        if held is not None:
            yield held
        else:
            yield inspector.decided(next(scored)) if outputs else hold(_FAILED)


def _decode(
    sizes: frozenset[Size], bits: int | None, image: Row, content: bytes | Decision
) -> tuple[Row, Opened]:
    if isinstance(content, Decision):
        return image, content
    try:
        return image, prepare(decode(content, bits=bits), sizes)
    except ImageError as error:
        log.warning("%s: %s", image["object"], error)
        return image, hold(error.reason)


def _full_batches(
    opened: Iterable[tuple[Row, Opened]], size: int
) -> Iterator[list[tuple[Row, Opened]]]:
    """Lists with `size` images that can be inspected; only the last one of a shard has fewer.

    A batch never has images of two shards, so that a shard that is repeated alone meets the models
    in the same batches, and gets the same numbers.
    """
    for _, shard in groupby(opened, key=lambda one: one[0]["shard"]):
        batch: list[tuple[Row, Opened]] = []
        good = 0
        for image, content in shard:
            batch.append((image, content))
            good += not isinstance(content, Decision)
            if good == size:
                yield batch
                batch, good = [], 0
        if batch:
            yield batch


def _gather(opened: list[tuple[Row, Opened]]) -> _Work:
    good = [one for _, one in opened if not isinstance(one, Decision)]
    held = [one if isinstance(one, Decision) else None for _, one in opened]
    return _Work([image for image, _ in opened], held, gather(good) if good else None)


def _infer(inspectors: Sequence[Inspector], work: _Work) -> _Work:
    if work.batch is None:
        return work
    champion, *shadows = inspectors
    outputs = [_run(champion, work.batch)]
    for shadow in shadows:
        try:
            outputs.append(_run(shadow, work.batch))
        except MemoryError:
            log.exception("no memory is left for the shadow; its rows say so")
            outputs.append(None)
    return _Work(work.images, work.held, outputs=outputs)


def _run(inspector: Inspector, batch: Batch) -> Outputs | None:
    try:
        return inspector.models.run(batch)
    except Exception as error:
        # ONNX Runtime's errors share no base class.
        if lacks_memory(error):
            # A retry with more memory may cure it: nobody should look at these parts for that.
            raise MemoryError(str(error)) from error
        # The parts are held, the night goes on.
        log.exception("a batch of %d images could not be inspected", len(batch.images))
        return None


def _inspected(work: _Work) -> int:
    return sum(held is None for held in work.held)
