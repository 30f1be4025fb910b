"""A night's predictions as documents and ledger entries."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from ml import files
from ml.audit import ledger
from ml.data import predicted
from ml.data.day import check_day
from ml.errors import ResultsError
from ml.results import Document, ResultStore
from ml.settings import Home

VERDICTS = ("pass", "fail", "review")
# What the digests of the ledger are of; an earlier Loupe left out whose the verdicts are.
RECORDED = ("object", "part", "sha256", "verdict", "p_defect", "bundle")
RECORDED_EARLIER = ("sha256", "verdict", "p_defect", "bundle")
_MODELS = ("classifier", "segmenter", "anomaly")
_COPIED = [
    "day",
    "part",
    "lot",
    "camera",
    "object",
    "sha256",
    "verdict",
    "reason",
    "p_defect",
    "defect_type",
    "area",
    "bundle",
]

Row = dict[str, Any]


@dataclass(frozen=True)
class Published:
    """Documents of a day; how many of them are parts not passed; how many had to be written."""

    documents: int
    flagged: int
    written: int


def publish(home: Home, store: ResultStore, line: str, day: str) -> Published:
    """Write a day's `shards`, `parts` and `nights` documents and one ledger entry per shard.

    Documents that stand already are left alone, so that a publish that was cut off goes on where it
    stopped; those of an earlier run of the day that no longer belong are deleted. The files of the
    predictions are put together first. Raises ResultsError when the store does not hold all
    documents at the end.
    """
    predicted.pack_day(home, line, check_day(day))
    shards: dict[str, Document] = {}
    parts: dict[str, Document] = {}
    entries: list[Document] = []
    for number, rows in by_shard(home, line, day):
        shards[f"{line}__{day}__{number:04d}"] = _shard(line, day, number, rows)
        parts |= {part_id(line, row): _part(line, row) for row in rows if row["verdict"] != "pass"}
        entries.append(_entry(line, day, number, rows))
    night = _night(line, day, list(shards.values()))
    known = store.get("nights", f"{line}__{day}")
    if known is not None and _same_night(known, night):
        night["reconciled"] = known["reconciled"]
    elif known is not None:
        # Until the end its documents are of two runs.
        store.put("nights", {known.pop("id"): known | {"reconciled": False}})
    written = _replace(store, "shards", line, day, shards)
    written += _replace(store, "parts", line, day, parts)
    ledger.extend(home.ledger(line, day), entries, within="shard")
    # Last, because it says that the others stand.
    store.put("nights", {f"{line}__{day}": night})
    return Published(len(shards) + len(parts) + 1, len(parts), written + 1)


def part_id(line: str, row: Row) -> str:
    """The id of the document of a part that is not passed.

    Images that are held unread may have the bytes of each other, or of one that was inspected: the
    object tells them apart.
    """
    name = f"{line}__{row['day']}__{row['sha256'][:16]}"
    return f"{name}-{files.content_key(row['object'])}" if predicted.is_held_unread(row) else name


def by_shard(home: Home, line: str, day: str) -> Iterator[tuple[int, list[Row]]]:
    """Number and predictions of one shard after the other: as Python objects they are large."""
    table = predicted.read(home, line, day=day, embeddings=False)
    numbers = table["shard"].to_pylist()
    start = 0
    for number, group in groupby(numbers):
        count = len(list(group))
        yield int(number), table.slice(start, count).to_pylist()
        start += count


def _shard(line: str, day: str, number: int, rows: list[Row]) -> Document:
    bundles = sorted({row["bundle"] for row in rows})
    return {
        "line": line,
        "day": day,
        "shard": number,
        "images": len(rows),
        **_count(rows),
        "bundle": ", ".join(bundles),
    }


def _count(rows: list[Row]) -> dict[str, int]:
    counts = Counter(row["verdict"] for row in rows)
    return {verdict: counts[verdict] for verdict in VERDICTS}


def _night(line: str, day: str, shards: list[Document]) -> Document:
    totals = {name: sum(int(shard[name]) for shard in shards) for name in ("images", *VERDICTS)}
    bundles = sorted({shard["bundle"] for shard in shards})
    return {
        "line": line,
        "day": day,
        "bundle": ", ".join(bundles),
        "shards": len(shards),
        "reconciled": False,
        **totals,
    }


def _same_night(known: Document, night: Document) -> bool:
    return all(known.get(key) == value for key, value in night.items() if key != "reconciled")


def _part(line: str, row: Row) -> Document:
    return {
        "line": line,
        "scores": _by_model(row, "score"),
        "calibrated": _by_model(row, "p"),
        **{name: row[name] for name in _COPIED},
        "regions": None if row["regions"] is None else json.loads(row["regions"]),
    }


def _by_model(row: Row, kind: str) -> dict[str, float]:
    found = {name: row[f"{kind}_{name}"] for name in _MODELS}
    return {name: value for name, value in found.items() if value is not None}


def digest_of(rows: list[Row], names: Sequence[str] = RECORDED) -> str:
    """What the ledger keeps of the predictions of a shard: images, parts, verdicts, bundle."""
    return files.content_key([[row[name] for name in names] for row in rows], 64)


def _entry(line: str, day: str, number: int, rows: list[Row]) -> Document:
    """The ledger's line on one shard: its key holds the verdicts, so a change is a new line."""
    digest = digest_of(rows)
    key = f"shard-{number:04d}-{digest[:16]}"
    return {"key": key, "step": "publish", "digest": digest, **_shard(line, day, number, rows)}


def _replace(
    store: ResultStore, collection: str, line: str, day: str, documents: dict[str, Document]
) -> int:
    """Make a day's documents of a collection exactly these; how many were not there yet."""
    of_day = {"line": line, "day": day}
    known = {found.pop("id"): found for found in store.find(collection, of_day)}
    changed = {name: body for name, body in documents.items() if known.get(name) != body}
    store.put(collection, changed)
    store.delete(collection, sorted(set(known) - set(documents)))
    count = store.count(collection, of_day)
    if count != len(documents):
        msg = f"{collection}: {count} documents of {line}, {day}; expected {len(documents)}"
        raise ResultsError(f"{msg}; publish the day again")
    return len(changed)
