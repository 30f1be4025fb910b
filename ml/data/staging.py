"""One batch of an ingest: read, hash, decode and measure its images, and keep the rows as Parquet.

A killed step leaves no batch or a whole one. Nothing is accepted here; `validate.py` decides.
"""

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ml import files
from ml.ahead import run_ahead
from ml.data.batch import STAGED, Moment, list_again, write_batch
from ml.data.decide import LABEL_CONFLICT
from ml.data.layout import Facts, kind_of, some_of
from ml.data.measure import measure
from ml.data.reading import Reading, ReadLimit, read_all
from ml.data.source import Listed, Source
from ml.errors import ImageError
from ml.imaging import decode, decode_grey, is_drawn, read_drawn, varies_in_alpha
from ml.progress import track
from ml.settings import Home, LineConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """An image to stage; `mask` is its listed mask, None when it has none or that is missing."""

    item: Listed
    facts: Facts
    day: str
    mask: Listed | None

    @property
    def items(self) -> list[Listed]:
        """The image and, where it has one, its mask."""
        return [self.item] if self.mask is None else [self.item, self.mask]


@dataclass(frozen=True)
class Staged:
    """A batch as it was staged; `held` images did not come and wait for a later ingest."""

    name: str
    images: int
    held: int


def stage(
    home: Home, line: LineConfig, source: Source, work: list[Work], threads: int, moment: Moment
) -> Staged:
    """Read and measure every image of `work`, which was listed at `moment`, and write the batch.

    An image that changed since it was listed, that is gone, cannot be read or never came whole is
    left out: a later ingest lists it again. Raises SourceSilentError when the source stopped
    answering, SourceError when nothing of it can be read.
    """
    name = batch_name(line, work)
    if home.staging(line.name, name).exists():
        list_again(home, line.name, name, moment)
        return Staged(name, len(work), 0)
    rows = measured(home, line, source, work, threads)
    whole = [one for one, row in zip(work, rows, strict=True) if row is not None]
    if whole:
        name = batch_name(line, whole)
        write_batch(home, line.name, name, [row for row in rows if row is not None], moment)
    return Staged(name if whole else "", len(whole), len(work) - len(whole))


def measured(
    home: Home, line: LineConfig, source: Source, work: list[Work], threads: int
) -> list[dict[str, Any] | None]:
    """The row of each image (`STAGED`), whose bytes are stored; None where it was not as listed."""
    readings = read_all(source, [one.items for one in work], ReadLimit(source.parallel))

    def row(pair: tuple[Work, Reading]) -> dict[str, Any] | None:
        one, contents = pair
        return None if contents is None else _row(home, line, one, contents)

    pairs = zip(work, readings, strict=True)
    made = run_ahead(row, pairs, threads=threads, ahead=2 * threads)
    rows = list(track(made, "ingest", len(work)))
    _log_empty_masks(work, rows)
    return rows


def batch_name(line: LineConfig, work: list[Work]) -> str:
    """The name of a batch of these images, with these labels and masks, read in this way."""
    told = [[item.version for item in one.items] for one in work]
    labels = [[one.item.key, one.facts.label] for one in work]
    read = [line.source.bits, line.source.layout.mask_threshold, line.checks.max_pixels]
    return files.content_key([labels, told, read])


def _row(home: Home, line: LineConfig, work: Work, contents: list[bytes]) -> dict[str, Any]:
    facts, content = work.facts, contents[0]
    row: dict[str, Any] = dict.fromkeys(STAGED.names) | {
        "object": work.item.key,
        "version": work.item.version,
        "sha256": _store(home, content),
        "bytes": len(content),
        "part": facts.part,
        "lot": facts.lot,
        "group": facts.group,
        "camera": facts.camera,
        "captured_at": facts.captured_at,
        "day": work.day,
        "label": facts.label,
        "defect_type": facts.defect_type,
        "mask": "",
        "problem": facts.problem,
    }
    try:
        image = decode(content, line.checks.max_pixels, line.source.bits)
        row |= measure(image)
        if facts.mask_key and work.mask is None:
            raise ImageError("mask_missing", f"{facts.mask_key}: not in the source")
        if work.mask is not None:
            row |= _mask(home, line, contents[1], facts, image.shape[:2])
    except ImageError as error:
        log.warning("%s: %s", work.item.key, error)
        row["problem"] = error.reason
    return row


def _mask(
    home: Home, line: LineConfig, content: bytes, facts: Facts, size: tuple[int, int]
) -> dict[str, Any]:
    layout = line.source.layout
    try:
        if is_drawn(content):
            defect, types = read_drawn(content, size)
        else:
            defect, types = _painted(content, layout.mask_threshold, size), ("defect",)
    except ImageError as error:
        raise ImageError(error.reason, f"{facts.mask_key}: {error}") from error
    if good := set(types) & {"ok", *map(kind_of, layout.ok)}:
        msg = f"{facts.mask_key}: a shape is called {min(good)!r}; shapes mark defects"
        raise ImageError(LABEL_CONFLICT, msg)
    if facts.label == "ok" and defect.any():
        # One of the two is wrong, and only a person can say which.
        msg = f"{facts.mask_key}: marks a defect in an image that is called good"
        raise ImageError(LABEL_CONFLICT, msg)
    png = cv2.imencode(".png", defect.astype(np.uint8) * 255)[1].tobytes()
    stored = _store(home, png) if defect.any() else ""
    if facts.label:
        return {"mask": stored}
    label = "defect" if defect.any() else "ok"
    return {"mask": stored, "label": label, "defect_type": types[0] if defect.any() else ""}


def _painted(content: bytes, threshold: int, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Where a mask that is an image marks a defect, `[H, W]`."""
    try:
        mask = decode_grey(content, max_pixels=size[0] * size[1])
    except ImageError as error:
        reason = "mask_size" if error.reason == "too_large" else "mask_unreadable"
        raise ImageError(reason, str(error)) from error
    if mask.shape != size:
        raise ImageError("mask_size", f"{mask.shape} pixels, its image has {size}")
    defect = mask > threshold
    if mask.any() and not defect.any():
        # Class numbers, or 0 and 1: taken for an empty mask, the defect would count as good.
        msg = (
            f"its highest value is {mask.max()}, and `source.layout.mask_threshold` is "
            f"{threshold}: no pixel is defect. Lower the key"
        )
        raise ImageError("mask_faint", msg)
    if mask.min() == mask.max() and varies_in_alpha(content):
        raise ImageError("mask_faint", "its shape is in the alpha channel alone; save it as grey")
    return np.asarray(defect)


def _log_empty_masks(work: list[Work], rows: list[dict[str, Any] | None]) -> None:
    empty = [
        one.item.key
        for one, row in zip(work, rows, strict=True)
        if row and one.mask and one.facts.label == "defect" and not (row["mask"] or row["problem"])
    ]
    if empty:
        log.warning(
            "%d defects have an empty mask and count as without one: %s", len(empty), some_of(empty)
        )


def _store(home: Home, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    path = home.object(digest)
    # A power cut before the batch was written may have left less of it.
    if _bytes_of(path) != len(content):
        files.write_bytes(path, content, sync=False)
    return digest


def _bytes_of(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
