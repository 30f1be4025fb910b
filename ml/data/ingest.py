"""First half of an ingest: list what is new, hash, decode, measure, and stage it.

Nothing is accepted here; `validate.py` decides. A killed ingest leaves no batch or a whole one.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ml import files
from ml.data import catalog
from ml.data.layout import Facts, describe
from ml.data.measure import measure
from ml.data.source import Listed, Source, open_source
from ml.data.spread import deal_days
from ml.errors import DataError, ImageError, SourceError
from ml.imaging import decode_grey, decode_rgb
from ml.progress import Progress
from ml.settings import Home, LineConfig

# Images in memory at once are bounded by one chunk.
_CHUNK_IMAGES = 128

STAGED = pa.schema(
    [field for field in catalog.IMAGES if field.name not in ("status", "reason", "batch")]
    + [pa.field(name, pa.string()) for name in ("label", "defect_type", "mask", "problem")]
)


@dataclass(frozen=True)
class Batch:
    """What one ingest staged. `name` is empty when there was nothing new."""

    name: str
    listed: int
    new: int


def ingest(home: Home, line: LineConfig, *, source: str, until: str | None, threads: int) -> Batch:
    """Stage every image of `source` that the catalog does not have in this version.

    Images captured after the day `until` are left for a later ingest. Raises SourceError when the
    source cannot be listed or holds no image of the line's layout.
    """
    place = open_source(source)
    listed = {item.key: item for item in place.list()}
    facts = describe(line.source.layout, listed, place.read)
    if not facts:
        msg = (
            f"{source}: no images of layout `{line.source.layout.kind}` among {len(listed)} "
            "objects; check `source.uri` and `source.layout`"
        )
        raise SourceError(msg)
    days = _days(line, facts, listed)
    waiting = [key for key in facts if until is None or days[key] <= until]
    new = _not_in_catalog(home, line.name, [listed[key] for key in waiting])
    if not new:
        return Batch("", len(waiting), 0)
    name = files.content_key([[item.key, item.version] for item in new])
    if not home.staging(line.name, name).exists():
        work = [_work(item, facts[item.key], days[item.key], listed) for item in new]
        rows = list(_measured(home, line, place, work, threads))
        _write_staging(home, line.name, name, rows, listed=len(new))
    return Batch(name, len(waiting), len(new))


def read_staging(home: Home, line: str, batch: str) -> pa.Table:
    """The staged rows of a batch, and how many objects were listed for it as metadata `listed`.

    Raises DataError when there is no batch of that name.
    """
    path = home.staging(line, batch)
    if not path.exists():
        msg = f"{path}: no such batch; run `loupe ingest --line {line}` first"
        raise DataError(msg)
    table = pq.read_table(path)
    if b"listed" not in (table.schema.metadata or {}):
        msg = (
            f"{path}: staged by an earlier version; delete it and run `loupe ingest --line {line}`"
        )
        raise DataError(msg)
    return table


@dataclass(frozen=True)
class _Work:
    item: Listed
    facts: Facts
    day: str
    mask_missing: bool


def _work(item: Listed, facts: Facts, day: str, listed: dict[str, Listed]) -> _Work:
    return _Work(item, facts, day, bool(facts.mask_key) and facts.mask_key not in listed)


def _days(line: LineConfig, facts: dict[str, Facts], listed: dict[str, Listed]) -> dict[str, str]:
    if line.source.spread is not None:
        return deal_days(line.source.spread, facts.values())
    return {
        key: (fact.captured_at or listed[key].modified).date().isoformat()
        for key, fact in facts.items()
    }


def _not_in_catalog(home: Home, line: str, items: list[Listed]) -> list[Listed]:
    # Compared by name and version, not by time: late, re-ordered and changed objects are all found.
    table = catalog.read_images(home, line, status=None)
    known = set(zip(table["object"].to_pylist(), table["version"].to_pylist(), strict=True))
    return [item for item in items if (item.key, item.version) not in known]


def _measured(
    home: Home, line: LineConfig, source: Source, work: list[_Work], threads: int
) -> Iterator[dict[str, Any]]:
    with Progress("ingest", len(work)) as progress, ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(work), _CHUNK_IMAGES):
            chunk = work[start : start + _CHUNK_IMAGES]
            for row in pool.map(lambda one: _row(home, line, source, one), chunk):
                progress.step()
                yield row


def _row(home: Home, line: LineConfig, source: Source, work: _Work) -> dict[str, Any]:
    facts = work.facts
    content = source.read(work.item.key)
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
        "problem": "",
    }
    try:
        image = decode_rgb(content, line.checks.max_pixels)
        row |= measure(image)
        if work.mask_missing:
            raise ImageError("mask_missing", f"{facts.mask_key}: not in the source")
        if facts.mask_key:
            row |= _mask(home, line, source, facts, image.shape[:2])
    except ImageError as error:
        row["problem"] = error.reason
    return row


def _mask(
    home: Home, line: LineConfig, source: Source, facts: Facts, size: tuple[int, int]
) -> dict[str, Any]:
    try:
        mask = decode_grey(source.read(facts.mask_key), max_pixels=size[0] * size[1])
    except ImageError as error:
        reason = "mask_size" if error.reason == "too_large" else "mask_unreadable"
        raise ImageError(reason, f"{facts.mask_key}: {error}") from error
    if mask.shape != size:
        msg = f"{facts.mask_key}: {mask.shape} pixels, its image has {size}"
        raise ImageError("mask_size", msg)
    defect = mask > line.source.layout.mask_threshold
    png = cv2.imencode(".png", defect.astype(np.uint8) * 255)[1].tobytes()
    stored = _store(home, png) if defect.any() else ""
    if facts.label:
        return {"mask": stored}
    label = "defect" if defect.any() else "ok"
    return {"mask": stored, "label": label, "defect_type": "defect" if defect.any() else ""}


def _store(home: Home, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    path = home.object(digest)
    if not path.exists():
        files.write_bytes(path, content)
    return digest


def _write_staging(
    home: Home, line: str, name: str, rows: list[dict[str, Any]], listed: int
) -> None:
    schema = STAGED.with_metadata({"listed": str(listed)})
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink)
    files.write_bytes(home.staging(line, name), sink.getvalue().to_pybytes())
