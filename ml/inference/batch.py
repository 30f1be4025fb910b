"""Inspect one shard of a day: decode in threads, infer in batches, write the rows at once."""

import json
import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Any

import pyarrow as pa

from ml.ahead import in_batches, run_ahead
from ml.bundle import load_bundle
from ml.data import catalog
from ml.errors import BundleError, ImageError
from ml.imaging import decode_rgb
from ml.inference.engine import Inspection, Inspector, Prepared
from ml.inference.night import Plan, shard_rows
from ml.inference.regions import find_regions
from ml.inference.verdict import Decision, hold
from ml.progress import Progress
from ml.settings import Home

log = logging.getLogger(__name__)

# Batches decoded ahead of the models: they never wait, and memory stays bounded.
_BATCHES_AHEAD = 3
# Digits of what is stored: the rest is noise of the processor, and a repeated shard is equal.
_DECIMALS = 5

Row = dict[str, Any]
Opened = Prepared | Decision

_COPIED = ("object", "sha256", "part", "lot", "camera", "captured_at")


@dataclass(frozen=True)
class Shard:
    """What a shard came to."""

    bundle: str
    counts: dict[str, int]
    images: int
    images_per_s: float


def predict_shard(home: Home, plan: Plan, shard: int, batch: int, threads: int) -> Shard:
    """Inspect a shard and replace its rows in the predictions.

    Without a usable bundle every part is held for review; nothing is skipped, nothing passed.
    """
    started = time.monotonic()
    images = shard_rows(home, plan, shard)
    mm_per_pixel = None
    try:
        inspector = _open(home, plan.bundle, threads)
    except BundleError as error:
        log.error("every part of the shard is held: %s", error)
        reason = "the bundle was refused" if plan.bundle else "no champion bundle"
        found: Iterable[Inspection | Decision] = [hold(reason)] * len(images)
    else:
        mm_per_pixel = inspector.bundle.card.mm_per_pixel
        found = _inspect_all(home, inspector, images, batch, threads)
    pairs = zip(images, found, strict=True)
    rows = [_row(plan, shard, image, outcome, mm_per_pixel) for image, outcome in pairs]
    table = pa.Table.from_pylist(rows, schema=catalog.PREDICTIONS)
    catalog.write_predictions(home, plan.line, plan.day, shard, table)
    counts = dict.fromkeys(("pass", "fail", "review"), 0)
    for row in rows:
        counts[row["verdict"]] += 1
    seconds = max(time.monotonic() - started, 1e-6)
    return Shard(plan.bundle, counts, len(rows), round(len(rows) / seconds, 1))


def _open(home: Home, name: str, threads: int) -> Inspector:
    if not name:
        msg = "the line has no champion; promote a bundle"
        raise BundleError(msg)
    return Inspector(load_bundle(home, name), threads)


def _inspect_all(
    home: Home, inspector: Inspector, images: list[Row], batch: int, threads: int
) -> Iterator[Inspection | Decision]:
    """An inspection of each image, or the decision to hold it; in order."""
    with Progress("inspect", len(images)) as progress:
        for opened in in_batches(_decoded(home, inspector, images, batch, threads), batch):
            yield from _inspect(inspector, opened)
            progress.step(len(opened))


def _decoded(
    home: Home, inspector: Inspector, images: list[Row], batch: int, threads: int
) -> Iterator[Opened]:
    def opened(image: Row) -> Opened:
        try:
            return inspector.prepare(decode_rgb(home.object(image["sha256"]).read_bytes()))
        except ImageError as error:
            log.warning("%s: %s", image["object"], error)
            return hold(error.reason)
        except OSError as error:
            log.error("%s: %s", image["object"], error)
            return hold("the stored image cannot be read")

    return run_ahead(opened, images, threads=threads, ahead=_BATCHES_AHEAD * batch)


def _inspect(inspector: Inspector, opened: list[Opened]) -> list[Inspection | Decision]:
    good = [item for item in opened if not isinstance(item, Decision)]
    try:
        inspected: Iterator[Inspection | Decision] = iter(inspector.inspect_prepared(good))
    except Exception:
        # ONNX Runtime's errors share no base class. The parts are held, the night goes on.
        log.exception("a batch of %d images could not be inspected", len(good))
        inspected = iter([hold("the models failed")] * len(good))
    return [item if isinstance(item, Decision) else next(inspected) for item in opened]


def _row(
    plan: Plan,
    shard: int,
    image: Row,
    outcome: Inspection | Decision,
    mm_per_pixel: float | None,
) -> Row:
    row: Row = {"day": plan.day, "shard": shard, "bundle": plan.bundle}
    row |= {name: image[name] for name in _COPIED}
    if isinstance(outcome, Decision):
        return row | {"verdict": outcome.verdict, "reason": outcome.reason, "defect_type": ""}
    decision, scored = outcome.decision, outcome.scored
    row |= {f"score_{name}": _plain(value) for name, value in scored.scores.items()}
    row |= {f"p_{name}": _plain(value) for name, value in decision.calibrated.items()}
    return row | {
        "verdict": decision.verdict,
        "reason": decision.reason,
        "p_defect": _plain(decision.p_defect),
        "defect_type": outcome.defect_type if decision.verdict != "pass" else "",
        "area": _plain(scored.area),
        "regions": _regions(image, outcome, mm_per_pixel),
        "embedding": scored.embedding.tolist(),
    }


def _regions(image: Row, outcome: Inspection, mm_per_pixel: float | None) -> str | None:
    """The regions of a part that is not passed, as JSON; None without a segmenter."""
    mask, heat = outcome.scored.defect_mask, outcome.scored.defect_map
    if mask is None or heat is None or outcome.decision.verdict == "pass":
        return None
    found = find_regions(mask, heat, (image["height"], image["width"]), mm_per_pixel)
    return json.dumps([region.document() for region in found])


def _plain(value: float | None) -> float | None:
    """A number as it is stored; what is not finite is no score, and no document can hold it."""
    return None if value is None or not isfinite(value) else round(value, _DECIMALS)
