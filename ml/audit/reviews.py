"""The ledgers of reviews: what people said of parts, as it was recorded.

An entry comes before its document, and has all of it: a review that was recorded is never lost.
There is a file for each month, since who appends to one reads it.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ml.audit import ledger
from ml.errors import LedgerError

# `review` is recorded by the API as it is given, `found` by the review step: somebody wrote the
# document past this home's ledger, as an API on another host does, or an older Loupe.
Step = Literal["review", "found"]

_ADVICE = (
    "keep the file as evidence in another folder: `loupe review` then takes what is stored as found"
)

Document = dict[str, Any]
Entry = dict[str, Any]


@dataclass(frozen=True)
class Differences:
    """How the reviews of a store differ from those of the ledgers.

    `unfinished` are, by id, the documents that were recorded and are not stored, or not yet instead
    of an earlier one; `unrecorded`, by id, stand in the store alone; the ids `altered` have another
    content than was ever recorded.
    """

    unfinished: dict[str, Document]
    unrecorded: dict[str, Document]
    altered: list[str]


def record(folder: Path, documents: Mapping[str, Document], step: Step = "review") -> None:
    """Append reviews by id to the ledger of this month in the folder of a line's ledgers.

    One that stands there as the last of its id is not repeated. Raises LedgerError when the ledger
    was altered.
    """
    path = folder / f"reviews-{datetime.now(UTC):%Y-%m}.jsonl"
    entries = [_entry(name, body, step) for name, body in documents.items()]
    if entries:
        ledger.extend(path, entries, within="id")


def read(folder: Path) -> list[Entry]:
    """All entries of a line, oldest first; LedgerError when a ledger was altered."""
    try:
        paths = sorted(folder.glob("reviews-*.jsonl"))
        return [entry for path in paths for entry in ledger.entries(path)]
    except LedgerError as error:
        raise LedgerError(f"{error}; {_ADVICE}") from error


def mend(folder: Path) -> None:
    """Cut half-written last lines off, as a full disk leaves them.

    An append does so in its own month alone, and none comes to a month that is over.
    """
    for path in folder.glob("reviews-*.jsonl"):
        if not path.read_bytes().endswith(b"\n"):
            ledger.extend(path, ())


def said_of(folder: Path, sha256: str) -> list[Document]:
    """The reviews of one image with their ids, oldest first, also those that a later one replaced.

    For people to look at: other lines are not parsed, and no chain is verified, as `read` does.
    Raises LedgerError where a line is not one of a ledger.
    """
    said = []
    for path in sorted(folder.glob("reviews-*.jsonl")):
        # A half-written last line, left by a crash, is no entry.
        lines = [line for line in path.read_bytes().splitlines(True) if line.endswith(b"\n")]
        try:
            entries = [json.loads(line)["entry"] for line in lines if sha256.encode() in line]
            said += [entry["review"] | {"id": entry["id"]} for entry in entries]
        except (ValueError, KeyError, TypeError) as error:
            msg = f"{path}: altered since it was written; `loupe audit verify` names the line"
            raise LedgerError(msg) from error
    return [review for review in said if review.get("sha256") == sha256]


def compare(entries: list[Entry], stored: Mapping[str, Document]) -> Differences:
    """Hold the documents of a store, by id, against the ledgers."""
    of_id: dict[str, list[Entry]] = defaultdict(list)
    # What was found is older than a review of its id, also where that came in just before it was
    # recorded.
    for entry in sorted(entries, key=lambda one: one["step"] == "review"):
        of_id[entry["id"]].append(entry)
    unfinished, altered = {}, []
    unrecorded = {name: body for name, body in stored.items() if name not in of_id}
    for name, said in of_id.items():
        body, last = stored.get(name), said[-1]
        keys = [entry["key"] for entry in said]
        key = None if body is None else _key(name, body)
        if key == keys[-1]:
            continue
        if body is None or key in keys:
            unfinished[name] = last["review"]
        elif last["step"] == "found":
            # Who writes past the ledger may also change their mind.
            unrecorded[name] = body
        else:
            altered.append(name)
    return Differences(unfinished, unrecorded, altered)


def _entry(name: str, body: Document, step: Step) -> Entry:
    return {"key": _key(name, body), "step": step, "id": name, "review": _plain(body)}


def _key(name: str, body: Document) -> str:
    return ledger.digest(name, _plain(body))


def _plain(body: Document) -> Document:
    """A document as JSON: one that a person wrote in Firestore's console may have a time in it."""
    plain: Document = json.loads(json.dumps(body, default=str))
    return plain
