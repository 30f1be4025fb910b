"""The ledger of promotions: the switches of a line's live bundle, and what a person rejected."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ml.audit import ledger

Step = Literal["promote", "rollback"]
REJECT = "reject"


@dataclass(frozen=True)
class Switch:
    """One entry: from `at` (UTC) on, `bundle` was live instead of `previous`.

    `at` is None in entries of a Loupe that did not record it.
    """

    line: str
    number: int
    step: Step
    bundle: str
    previous: str | None
    by: str
    reason: str
    at: datetime | None

    @property
    def key(self) -> str:
        """The entry's key in the ledger."""
        return f"promotion-{self.number:06d}"

    @property
    def record(self) -> dict[str, Any]:
        """What the live file says after this switch."""
        return {
            "line": self.line,
            "bundle": self.bundle,
            "previous": self.previous,
            "number": self.number,
        }

    def as_entry(self) -> dict[str, Any]:
        """The entry as the ledger stores it."""
        at = None if self.at is None else self.at.isoformat(timespec="seconds")
        own = {"key": self.key, "step": self.step, "by": self.by, "reason": self.reason, "at": at}
        return own | self.record


@dataclass(frozen=True)
class Rejection:
    """One entry: at `at` (UTC) a person refused a bundle that waited for its promotion.

    `number` is that of the switch before it, 0 where there is none.
    """

    line: str
    number: int
    bundle: str
    by: str
    reason: str
    at: datetime

    def as_entry(self) -> dict[str, Any]:
        """The entry as the ledger stores it: a bundle is rejected once between two switches."""
        key = f"rejection-{self.number:06d}-{self.bundle}"
        at = self.at.isoformat(timespec="seconds")
        return asdict(self) | {"key": key, "step": REJECT, "at": at}


def read_switches(path: Path) -> list[Switch]:
    """The switches of a ledger of promotions, oldest first; LedgerError when it was altered."""
    return [_switch(entry) for entry in ledger.entries(path) if entry["step"] != REJECT]


def rejected(path: Path, bundle: str) -> Rejection | None:
    """The last rejection of a bundle, unless it was promoted after it."""
    for entry in reversed(ledger.entries(path)):
        if entry["bundle"] == bundle and entry["step"] == REJECT:
            return _rejection(entry)
        if entry["bundle"] == bundle and entry["step"] == "promote":
            return None
    return None


def live_at(switches: Sequence[Switch], time: datetime) -> int | None:
    """Index of the switch whose bundle was live at a time with a zone; None before the first.

    Entries without a time are older than all that have one.
    """
    before = [i for i, one in enumerate(switches) if one.at is None or one.at <= time]
    return before[-1] if before else None


def standing(switches: Sequence[Switch]) -> list[Switch]:
    """The promotions that were not rolled back, oldest first; the last one's bundle is live.

    One of the bundle that was live before it, after a rejection, takes the place of that.
    """
    stack: list[Switch] = []
    for one in switches:
        if one.step == "rollback":
            stack.pop()
        elif stack and stack[-1].bundle == one.bundle:
            stack[-1] = one
        else:
            stack.append(one)
    return stack


def rolled_back(switches: Sequence[Switch], bundle: str) -> Switch | None:
    """The rollback that took a bundle out of service, unless it was promoted again after it."""
    for one in reversed(switches):
        if one.step == "rollback" and one.previous == bundle:
            return one
        if one.step == "promote" and one.bundle == bundle:
            return None
    return None


def _switch(entry: dict[str, Any]) -> Switch:
    at = entry.get("at")
    return Switch(
        line=entry["line"],
        number=entry["number"],
        step=entry["step"],
        bundle=entry["bundle"],
        previous=entry["previous"],
        by=entry["by"],
        reason=entry.get("reason", ""),
        at=None if at is None else datetime.fromisoformat(at).astimezone(UTC),
    )


def _rejection(entry: dict[str, Any]) -> Rejection:
    named = {field.name: entry[field.name] for field in fields(Rejection)}
    return Rejection(**named | {"at": datetime.fromisoformat(entry["at"]).astimezone(UTC)})
