"""The images that were not accepted: which and why, another try, and leaving them out for good.

A drop is an entry of the line's ledger `quarantine`, with who and why; the row stays.
"""

import logging
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from ml import files
from ml.audit import ledger
from ml.data import catalog
from ml.data.batch import Moment, write_batch
from ml.data.decide import COLUMNS, DROPPED, LABEL_CONFLICT, Key, is_held, is_present, row_key
from ml.data.ingest import list_work
from ml.data.listing import utc_now
from ml.data.recorded import unrecorded_drops
from ml.data.source import open_source
from ml.data.staging import Work, measured
from ml.data.validate import Outcome, validate, write_docs
from ml.errors import DataError
from ml.settings import Home, LineConfig

Row = dict[str, Any]

log = logging.getLogger(__name__)

# What the ledger says of a dropped image.
_IDENTITY = ("object", "version", "sha256", "reason")


@dataclass(frozen=True)
class Choice:
    """Which quarantined images; what is not said does not count."""

    day: str | None = None
    reason: str | None = None
    object: str | None = None

    def has(self, row: Row) -> bool:
        """Whether a row is one of these."""
        wanted = {"day": self.day, "reason": self.reason, "object": self.object}
        return all(value is None or row[name] == value for name, value in wanted.items())


@dataclass(frozen=True)
class Replay:
    """`outcome` of those tried again, and how many the source has no longer in that version."""

    outcome: Outcome
    gone: int


def quarantined(home: Home, line: str, choice: Choice) -> list[Row]:
    """The rows of the catalog that are in quarantine, sorted by object."""
    rows = catalog.read_images(home, line, status=["quarantined", "replaced"]).to_pylist()
    return [row for row in rows if is_held(row) and choice.has(row)]


def replay(home: Home, line: LineConfig, choice: Choice, *, source: str, threads: int) -> Replay:
    """Read quarantined images again and decide anew, by the line file as it is now.

    An image that the source has in another version by now is left to the ordinary ingest: it must
    not replace a newer one. A label conflict is over where the source, listed whole, has none of
    the accepted copies any more. Raises SourceError when the source cannot be read.
    """
    rows = quarantined(home, line.name, choice)
    if not rows:
        return Replay(Outcome("", 0, 0, 0, {}, [], None), 0)
    place = open_source(source)
    wanted = {(row["object"], row["version"]) for row in rows}
    moment = Moment.of(home, line.name, utc_now())
    listed, _ = list_work(line, place, source)
    work = [one for one in listed if (one.item.key, one.item.version) in wanted]
    gone = [] if place.left_out else _gone(home, line.name, rows, listed)
    found = [row for row in measured(home, line, place, work, threads) if row is not None]
    _name_changed(line.name, listed, wanted)
    batch = ""
    if found:
        # A mended mask or another limit makes another batch, and only that is decided anew.
        told = [[str(value) for value in row.values()] for row in found]
        batch = files.content_key([line.checks.model_dump(mode="json"), told, gone])
        write_batch(home, line.name, batch, found, moment, replay=True, gone=gone)
    return Replay(validate(home, line, batch), len(rows) - len(found))


def drop(home: Home, line: LineConfig, choice: Choice, *, by: str, because: str) -> list[Row]:
    """Leave quarantined images out for good and return their rows as they were.

    Their status is `dropped` from now on; that of a version that came back stays `replaced`.
    Raises DataError when nothing says which images, who or why. Killed, the same command goes on.
    """
    if choice == Choice():
        msg = "say which images to drop: --object, --day or --reason"
        raise DataError(msg)
    _check_said(by, because)
    with catalog.locked(home, line.name):
        rows = quarantined(home, line.name, choice)
        if not rows:
            return []
        _record(home, line.name, rows, by, because)
        dropped = [row | _dropped(row) for row in rows]
        table = pa.Table.from_pylist(dropped, schema=catalog.IMAGES)
        catalog.upsert_images(home, line.name, table)
        write_docs(home, line)
    return rows


def record_drops(home: Home, line: str, *, by: str, because: str) -> list[Row]:
    """Say in the ledger who dropped the images of which it does not, and return their rows.

    So it is where a ledger that was altered was put aside and a new one began. Raises DataError
    when nothing says who or why.
    """
    _check_said(by, because)
    with catalog.locked(home, line):
        rows = unrecorded_drops(home, line)
        if rows:
            _record(home, line, rows, by, because)
    return rows


def _check_said(by: str, because: str) -> None:
    if not (by.strip() and because.strip()):
        msg = "a drop needs --by (who) and --because (why); both go into the ledger"
        raise DataError(msg)


def _record(home: Home, line: str, rows: list[Row], by: str, because: str) -> None:
    named = [{name: row[name] for name in _IDENTITY} for row in rows]
    entry = {
        "key": f"drop-{files.content_key(named)}",
        "step": "drop",
        "images": named,
        "by": by,
        "because": because,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    ledger.append(home.ledger(line, "quarantine"), entry)


def _dropped(row: Row) -> Row:
    return {"reason": DROPPED} if row["status"] == "replaced" else {"status": "dropped"}


def _name_changed(line: str, listed: list[Work], wanted: set[Key]) -> None:
    """Say which quarantined images the source has in other versions alone, and who takes them."""
    there = {(one.item.key, one.item.version) for one in listed}
    names = {name for name, _ in wanted - there} & {name for name, _ in there - wanted}
    for name in sorted(names):
        log.warning("%s changed since it was quarantined: `loupe ingest --line %s`", name, line)


def _gone(home: Home, line: str, rows: list[Row], listed: list[Work]) -> list[Key]:
    """Accepted copies of images with a label conflict that a listing has no longer."""
    conflicts = {row["sha256"] for row in rows if row["reason"] == LABEL_CONFLICT}
    if not conflicts:
        return []
    there = {one.item.key for one in listed}
    hashes = pa.array(sorted(conflicts), pa.string())
    copies = catalog.read_images_of(home, line, COLUMNS, sha256=hashes).to_pylist()
    gone = [row for row in copies if is_present(row) and row["object"] not in there]
    for row in gone:
        log.warning("%s, a side of a label conflict, is gone from the source", row["object"])
    return [row_key(row) for row in gone]


def by_reason(rows: list[Row]) -> dict[str, int]:
    """How many rows each reason has."""
    return dict(sorted(Counter(row["reason"] for row in rows).items()))
