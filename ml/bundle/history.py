"""Which bundle was live when: the ledger of promotions beside the live file."""

from datetime import datetime
from typing import Any

from ml.audit.promotions import Rejection, Switch, live_at, read_switches, rejected, rolled_back
from ml.bundle.live import live_record
from ml.errors import BundleError, LedgerError
from ml.settings import Home


def read_history(home: Home, line: str) -> list[Switch]:
    """The switches of a line's live bundle, oldest first.

    Raises LedgerError when the ledger was altered, or lacks the switch that the live file names.
    """
    path = home.promotions(line)
    try:
        switches = read_switches(path)
    except LedgerError as error:
        raise LedgerError(f"{error}; {_advice(line)}") from error
    record = _readable_record(home, line)
    if switches and record is not None and record.get("number", 0) > switches[-1].number:
        msg = (
            f"{path}: it ends with promotion {switches[-1].number}, but number {record['number']} "
            f"is live: it lost a line; {_advice(line)}"
        )
        raise LedgerError(msg)
    return switches


def unrecorded(home: Home, line: str) -> Switch | None:
    """The switch that the live file of a line without a ledger stands for: its time is unknown."""
    record = _readable_record(home, line)
    if record is None:
        return None
    return Switch(
        line=line,
        number=record.get("number") or 1,
        step="promote",
        bundle=record["bundle"],
        previous=record.get("previous"),
        by="unknown",
        reason="",
        at=None,
    )


def is_live(home: Home, switch: Switch) -> bool:
    """Whether the live file is as this switch leaves it."""
    return _readable_record(home, switch.line) == switch.record


def refused(home: Home, line: str, bundle: str) -> dict[str, Switch | Rejection]:
    """The entries by which a bundle was `rolled back` or `rejected` and not promoted since.

    Raises LedgerError as `read_history` does.
    """
    found = {
        "rolled back": rolled_back(read_history(home, line), bundle),
        "rejected": rejected(home.promotions(line), bundle),
    }
    return {what: entry for what, entry in found.items() if entry is not None}


def champion_at(home: Home, line: str, time: datetime) -> tuple[Switch | None, Switch | None]:
    """The switch whose bundle was live at a time with a zone, and the one that ended it.

    The first is None before the first promotion, the second while nothing followed. Raises
    LedgerError when there is no ledger, when it was altered, when the switch was recorded but
    never finished, and when earlier promotions were recorded without a time.
    """
    switches = read_history(home, line)
    if not switches:
        msg = f"{home.promotions(line)}: nothing was ever promoted on line {line}"
        raise LedgerError(msg)
    index = live_at(switches, time)
    if index is None:
        return None, switches[0]
    found = switches[index]
    following = switches[index + 1] if index + 1 < len(switches) else None
    if found.at is None:
        msg = f"promotion {found.number} of line {line} was recorded by an earlier Loupe, without "
        raise LedgerError(msg + "its time: what was live before the next one is not known")
    if following is None and not is_live(home, found):
        msg = f"{home.live(line)}: {found.step} {found.number} (bundle {found.bundle}) is recorded"
        raise LedgerError(msg + f", but was never finished; repeat it (`loupe {found.step}`)")
    return found, following


def _readable_record(home: Home, line: str) -> dict[str, Any] | None:
    """The live record; None also where the file is broken, which the next switch mends."""
    try:
        return live_record(home, line)
    except BundleError:
        return None


def _advice(line: str) -> str:
    return (
        "keep the file as evidence under another name, then promote the bundle that shall be live "
        f"on {line}: a new ledger begins"
    )
