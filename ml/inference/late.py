"""What of a night is missing when its deadline is over, as an alert for people."""

import logging

from ml.data import predicted
from ml.data.day import check_day
from ml.inference.night import find_plan
from ml.results import ResultStore
from ml.settings import Home

log = logging.getLogger(__name__)


def report_late(home: Home, store: ResultStore, line: str, day: str) -> str:
    """Write the `deadline` alert of a night that is not done; returns what is late, "" if nothing.

    The alert stays when the night is done after all: it was late. Raises DataError when `day` is
    not a day.
    """
    missing = _missing(home, store, line, check_day(day))
    if missing:
        log.error("line %s: the night of %s is late: %s", line, day, missing)
        detail = f"{missing}. Parts without a verdict are held."
        put_alert(store, line, day, "deadline", f"The night of {day} is late", detail)
    return missing


def put_alert(
    store: ResultStore,
    line: str,
    day: str,
    kind: str,
    title: str,
    detail: str,
    severity: str = "alarm",
) -> None:
    """Write an alert about a night; it stays when the night is done after all."""
    alert = {
        "line": line,
        "day": day,
        "kind": kind,
        "severity": severity,
        "title": title,
        "detail": detail,
        "action": "flag",
    }
    store.put("alerts", {_alert_id(line, day, kind): alert})


def settle_alert(
    store: ResultStore,
    line: str,
    day: str,
    kind: str,
    title: str,
    detail: str,
    severity: str = "alarm",
) -> None:
    """Write an alert about a night as it is now; without a `detail` all is well, and it goes."""
    if detail:
        level = logging.ERROR if severity == "alarm" else logging.WARNING
        log.log(level, "line %s: %s: %s", line, title, detail)
        put_alert(store, line, day, kind, title, detail, severity)
    elif store.get("alerts", name := _alert_id(line, day, kind)) is not None:
        store.delete("alerts", [name])


def _alert_id(line: str, day: str, kind: str) -> str:
    return f"{line}__{day}__{kind}"


def _missing(home: Home, store: ResultStore, line: str, day: str) -> str:
    night = store.get("nights", f"{line}__{day}")
    if night is not None and night["reconciled"]:
        return ""
    plan = find_plan(home, line, day)
    if plan is None:
        return "it has no plan yet (`shards`)"
    done = predicted.count_by_shard(home, line, day)
    if len(done) < len(plan.sizes):
        counts = f"{done.total()} of {plan.images} images"
        return f"{len(done)} of {len(plan.sizes)} shards are predicted ({counts})"
    return "it is not published" if night is None else "it is published, but not reconciled"
