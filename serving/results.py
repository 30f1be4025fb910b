"""The results store as the dashboard reads it."""

import logging
import re
from datetime import date, timedelta
from typing import Any

from flask import Blueprint, request

from ml.audit import ledger
from ml.audit.promotions import REJECT
from ml.errors import LedgerError
from ml.results import Document
from serving.disk import file_below
from serving.errors import ApiError
from serving.installation import Installation, installation

log = logging.getLogger(__name__)

blueprint = Blueprint("results", __name__, url_prefix="/v1/lines")

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_VERDICTS = ("fail", "review")
_SEVERITIES = ("none", "warning", "alarm")
_DEFAULT_LIMIT = 100
_MAX_LIMIT = 1000
_LONG_PAST = timedelta(days=100)


@blueprint.get("")
def lines() -> dict[str, Any]:
    """All lines at a glance."""
    here = installation()
    return {"lines": [_glance(here, line) for line in here.lines()]}


@blueprint.get("/<line>")
def line(line: str) -> dict[str, Any]:
    """One line, its latest night, the run whose bundle is live, and its validation page."""
    here = installation()
    document = here.line(line)
    run = here.store.get("runs", f"{line}__{document['bundle']}") if document["bundle"] else None
    return {
        "line": document,
        "night": _latest_night(here, line),
        "run": run,
        "validation": _validation(here, line),
    }


@blueprint.get("/<line>/nights")
def nights(line: str) -> dict[str, Any]:
    """Nights, newest first."""
    return _items("nights", line)


@blueprint.get("/<line>/windows")
def windows(line: str) -> dict[str, Any]:
    """Drift windows, newest day first."""
    return _items("windows", line)


@blueprint.get("/<line>/alerts")
def alerts(line: str) -> dict[str, Any]:
    """Alerts, newest day first."""
    return _items("alerts", line)


@blueprint.get("/<line>/runs")
def runs(line: str) -> dict[str, Any]:
    """Evaluated bundles: the live one, earlier champions from the latest on, then the others."""
    here = installation()
    live, turns, limit = here.line(line)["bundle"], _turns(here, line), _limit()
    # All of them, because ids are hashes: a limit there could cut off the live one.
    items = here.store.find("runs", {"line": line})
    items.sort(key=lambda run: (run["bundle"] != live, -turns.get(run["bundle"], 0)))
    return {"items": items[:limit]}


@blueprint.get("/<line>/parts")
def parts(line: str) -> dict[str, Any]:
    """Parts not passed, newest day first; `day` and `verdict` narrow them."""
    where = {}
    if day := request.args.get("day", ""):
        if not _DAY.fullmatch(day):
            raise ApiError(400, "bad_day", f"`day` is {day!r}; expected YYYY-MM-DD")
        where["day"] = day
    if verdict := request.args.get("verdict", ""):
        if verdict not in _VERDICTS:
            msg = f"`verdict` is {verdict!r}; expected {' or '.join(_VERDICTS)}"
            raise ApiError(400, "bad_verdict", msg)
        where["verdict"] = verdict
    return _items("parts", line, where)


def _items(collection: str, line: str, where: dict[str, str] | None = None) -> dict[str, Any]:
    here = installation()
    here.line(line)
    found = here.store.find(
        # Ids begin with line and day, so their order is the order of days.
        collection, {"line": line, **(where or {})}, descending=True, limit=_limit()
    )  # fmt: skip
    return {"items": found}


def _limit() -> int:
    text = request.args.get("limit", str(_DEFAULT_LIMIT))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _MAX_LIMIT:
        raise ApiError(400, "bad_limit", f"`limit` is {text!r}; expected 1 to {_MAX_LIMIT}")
    return int(text)


def _turns(here: Installation, line: str) -> dict[str, int]:
    """The last turn of each bundle as champion, from 1; none where no sound ledger is here."""
    try:
        promotions = ledger.entries(here.home.promotions(line))
    except LedgerError as error:
        log.error("runs of line %s are not in the order of promotion: %s", line, error)
        return {}
    return {
        entry["bundle"]: turn
        for turn, entry in enumerate(promotions, 1)
        if entry.get("step") != REJECT
    }


def _latest_night(here: Installation, line: str) -> Document | None:
    found = here.store.find("nights", {"line": line}, descending=True, limit=1)
    return found[0] if found else None


def _validation(here: Installation, line: str) -> str | None:
    """The page of the line's validation below /reports; None where this host has none."""
    path = f"{line}/validate/index.html"
    return None if file_below(here.home.root / "reports", path) is None else path


def _glance(here: Installation, document: Document) -> Document:
    name = document["line"]
    newest = here.store.find("windows", {"line": name}, descending=True, limit=1)
    night = _latest_night(here, name)
    severity = None
    if newest:
        windows_of_day = here.store.find("windows", {"line": name, "day": newest[0]["day"]})
        # Where there is a note nothing was tested, and `none` would read as "no drift".
        tested = [w["severity"] for w in windows_of_day if not w.get("note")]
        severity = max(tested, key=_SEVERITIES.index, default=None)
    # A night in which nothing could be judged has alerts before any drift check, or without one.
    days = {one["day"] for one in (*newest, night) if one is not None}
    return {**document, "night": night, "severity": severity, "alerts": _alerts(here, name, days)}


def _alerts(here: Installation, line: str, days: set[str]) -> int:
    """Alerts on some days, on one after them all, and on those whose night never ran.

    Of the last, those that are long past count one each.
    """
    of_line = {"line": line}
    newest = here.store.find("alerts", of_line, descending=True, limit=1)
    later = {one["day"] for one in newest if one["day"] > max(days, default="")}
    missed = {one["day"] for one in here.store.find("alerts", of_line | {"kind": "missed"})}
    if not days | later | missed:
        return 0
    # A glance must not read all days since one that nobody ever makes up for.
    first = date.fromisoformat(max(days | later | missed)) - _LONG_PAST
    past = {day for day in missed - days - later if day < first.isoformat()}
    missed -= past
    # After a long outage many nights never ran: one question for all of them, not two for each.
    since = f"{line}__{min(days | later | missed)}"
    nights = here.store.find("nights", of_line, since=since) if missed - days else []
    shown = days | later | (missed - {one["day"] for one in nights})
    found = here.store.find("alerts", of_line, since=since)
    return len(past) + sum(one["day"] in shown for one in found)
