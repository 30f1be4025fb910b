"""A night's predictions as documents and ledger entries, and the proof that nothing is missing."""

from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from ml import files
from ml.audit import ledger
from ml.data import catalog
from ml.data.day import check_day
from ml.errors import CountError
from ml.results import Document, ResultStore
from ml.settings import Home

_VERDICTS = ("pass", "fail", "review")
_SCORES = ("classifier", "segmenter", "anomaly")
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
# Objects that a message names before it says how many more.
_NAMED = 10

Row = dict[str, Any]


@dataclass(frozen=True)
class Published:
    """Documents written for a day, and how many of them are parts not passed."""

    documents: int
    flagged: int


@dataclass(frozen=True)
class Reconciled:
    """Images of a day, predictions of it, and images that its documents count."""

    images: int
    predictions: int
    documents: int


def publish(home: Home, store: ResultStore, line: str, day: str) -> Published:
    """Write a day's `shards`, `parts` and `nights` documents and one ledger entry per shard.

    Documents of an earlier run of the day that no longer belong are deleted.
    """
    rows = catalog.read_predictions(home, line, day=check_day(day)).drop(["embedding"]).to_pylist()
    shards = {
        int(number): list(group) for number, group in groupby(rows, key=lambda row: row["shard"])
    }
    documents = {
        f"{line}__{day}__{number:04d}": _shard(line, day, number, group)
        for number, group in shards.items()
    }
    parts = {
        f"{line}__{day}__{row['sha256'][:16]}": _part(line, row)
        for row in rows
        if row["verdict"] != "pass"
    }
    _replace(store, "shards", line, day, documents)
    _replace(store, "parts", line, day, parts)
    for number, group in shards.items():
        ledger.append(home.ledger(line, day), _entry(line, day, number, group), within="shard")
    # Last, because it says that the others stand.
    night = _night(line, day, list(documents.values()))
    known = store.get("nights", f"{line}__{day}")
    if known is not None and _same_night(known, night):
        night["reconciled"] = known["reconciled"]
    store.put("nights", {f"{line}__{day}": night})
    return Published(len(documents) + len(parts) + 1, len(parts))


def reconcile(home: Home, store: ResultStore, line: str, day: str) -> Reconciled:
    """Hold the day's accepted images against predictions and documents.

    Raises CountError that names what differs; `nights.reconciled` says the outcome either way.
    """
    images = catalog.read_images(home, line, day=check_day(day))["object"].to_pylist()
    table = catalog.read_predictions(home, line, day=day)
    night = store.get("nights", f"{line}__{day}")
    shards = store.find("shards", {"line": line, "day": day})
    parts = store.count("parts", {"line": line, "day": day})
    held = sum(verdict != "pass" for verdict in table["verdict"].to_pylist())
    problems = [
        *_differences(images, table["object"].to_pylist()),
        *_unequal("images", len(images), "the night's document", (night or {}).get("images")),
        *_unequal("images", len(images), "the shards' documents", sum(s["images"] for s in shards)),
        *_unequal("parts not passed", held, "the parts' documents", parts),
    ]
    if night is not None:
        body = {key: value for key, value in night.items() if key != "id"}
        store.put("nights", {f"{line}__{day}": body | {"reconciled": not problems}})
    if problems:
        msg = f"{line}, {day}: the night does not add up:\n  " + "\n  ".join(problems)
        raise CountError(msg)
    return Reconciled(len(images), table.num_rows, sum(s["images"] for s in shards))


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
    return {verdict: counts[verdict] for verdict in _VERDICTS}


def _night(line: str, day: str, shards: list[Document]) -> Document:
    totals = {name: sum(int(shard[name]) for shard in shards) for name in ("images", *_VERDICTS)}
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
    scores = {name: row[f"score_{name}"] for name in _SCORES if row[f"score_{name}"] is not None}
    return {"line": line, "scores": scores, **{name: row[name] for name in _COPIED}}


def _entry(line: str, day: str, number: int, rows: list[Row]) -> Document:
    """The ledger's line on one shard: its key holds the verdicts, so a change is a new line."""
    seen = [[row["sha256"], row["verdict"], row["p_defect"], row["bundle"]] for row in rows]
    digest = files.content_key(seen, 64)
    key = f"shard-{number:04d}-{digest[:16]}"
    return {"key": key, "step": "publish", "digest": digest, **_shard(line, day, number, rows)}


def _replace(
    store: ResultStore, collection: str, line: str, day: str, documents: dict[str, Document]
) -> None:
    stale = {found["id"] for found in store.find(collection, {"line": line, "day": day})}
    store.put(collection, documents)
    store.delete(collection, sorted(stale - set(documents)))


def _differences(images: list[str], predicted: list[str]) -> list[str]:
    have, want = Counter(predicted), Counter(images)
    return [
        *_named("without a prediction", sorted((want - have).elements())),
        *_named(
            "predicted, but not an accepted image of the day (or twice)",
            sorted((have - want).elements()),
        ),
    ]


def _named(what: str, objects: list[str]) -> list[str]:
    if not objects:
        return []
    more = f" and {len(objects) - _NAMED} more" if len(objects) > _NAMED else ""
    return [f"{len(objects)} {what}: {', '.join(objects[:_NAMED])}{more}"]


def _unequal(what: str, count: int, where: str, found: int | None) -> list[str]:
    return [] if count == found else [f"{count} {what}, but {where}: {found}"]
