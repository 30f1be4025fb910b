"""Listing a source: in full, or only the folders of the days since it was listed in full.

An object may come late, into the folder of a day that is over. So a line whose layout has a
folder for each day is still listed in full every `source.full_listing_hours`, and that is the
watermark: when, by this installation's clock, a listing saw everything. No time of an object is
trusted.
"""

import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta

from ml import files
from ml.errors import DataError
from ml.settings import Home, LineConfig

# Clocks and time zones of cameras differ: a day more on either side.
_MARGIN = timedelta(days=1)


@dataclass(frozen=True)
class Watermark:
    """When a source was last listed in full; `days` is the layout's pattern then."""

    source: str
    days: str
    full_at: str

    @classmethod
    def from_json(cls, text: str) -> "Watermark | None":
        """From the text of a state; None of an empty one. Raises DataError when it is wrong.

        A time without a zone is taken as UTC.
        """
        try:
            return cls._read(text)
        except (TypeError, ValueError) as error:
            msg = f"--state {text!r}: not a watermark ({error}); leave it out to list in full"
            raise DataError(msg) from error

    @classmethod
    def _read(cls, text: str) -> "Watermark | None":
        content = json.loads(text or "{}")
        if not content:
            return None
        mark = cls(**content)
        at = datetime.fromisoformat(mark.full_at)
        return mark if at.tzinfo else replace(mark, full_at=at.replace(tzinfo=UTC).isoformat())

    def as_json(self) -> dict[str, str]:
        """As it is stored."""
        return asdict(self)


@dataclass(frozen=True)
class Scope:
    """What to list: the folders `prefixes`, or all when None; `mark` is the watermark after it."""

    prefixes: list[str] | None
    mark: Watermark


def scope_of(line: LineConfig, source: str, mark: Watermark | None, now: datetime) -> Scope:
    """What an ingest of a line has to list now, given the watermark of the last one."""
    days = line.source.layout.days
    full = Scope(None, Watermark(source, days or "", now.isoformat(timespec="seconds")))
    if not days or mark is None or (mark.source, mark.days) != (source, days):
        return full
    before = datetime.fromisoformat(mark.full_at)
    # A mark of the future is that of a clock that was set back: it proves nothing.
    if not timedelta(0) <= now - before < timedelta(hours=line.source.full_listing_hours):
        return full
    first, last = (before - _MARGIN).date(), (now + _MARGIN).date()
    return Scope(_folders(days, first, last), mark)


def read_mark(home: Home, line: str) -> Watermark | None:
    """The watermark that the home keeps for the command line; None where there is none.

    Raises DataError, which names the file, when it is wrong.
    """
    path = home.watermark(line)
    if not path.exists():
        return None
    try:
        return Watermark._read(path.read_text())
    except (TypeError, ValueError) as error:
        msg = f"{path}: not a watermark ({error}); remove the file to list in full"
        raise DataError(msg) from error


def write_mark(home: Home, line: str, mark: Watermark) -> None:
    """Keep a watermark in the home."""
    files.write_json(home.watermark(line), mark.as_json())


def utc_now() -> datetime:
    """This installation's clock."""
    return datetime.now(UTC)


def _folders(pattern: str, first: date, last: date) -> list[str]:
    count = (last - first).days + 1
    return sorted({(first + timedelta(days=n)).strftime(pattern) for n in range(count)})
