"""Images of days that no night comes for: their capture times are probably wrong."""

import logging
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

from ml.data import catalog
from ml.errors import DataError
from ml.inference.late import put_alert
from ml.inference.night import Plan
from ml.results import ResultStore
from ml.settings import Home

log = logging.getLogger(__name__)

# Days that a message names.
_NAMED = 10


def first_day(plans: Sequence[Plan], nights: Collection[str], day: str) -> str:
    """The day of the night that was planned first; a backfill of earlier days comes after it.

    Where two were planned with the same images, the later day. Nights of an older Loupe have no
    plan and came before all others.
    """
    unplanned = set(nights) - {plan.day for plan in plans}
    if unplanned or not plans:
        return min(unplanned, default=day)
    earliest = min(plan.first_version for plan in plans)
    return max(plan.day for plan in plans if plan.first_version == earliest)


def report_stray(
    home: Home,
    store: ResultStore,
    line: str,
    day: str,
    began: str,
    plans: Sequence[Plan],
    without_night: Mapping[str, int],
) -> dict[str, int]:
    """Count images without a label that no night inspects, by day, and write an alert about them.

    They came after the nights `began`, but are of a day before that, as of a camera that lost its
    clock; or of one more than a day ahead of both `day` and now. `without_night` counts the images
    of each day that has no night.
    """
    soon = max(date.fromisoformat(day), datetime.now(UTC).date()) + timedelta(days=1)
    ahead = [one for one in without_night if one > soon.isoformat()]
    before = Counter({one: n for one, n in without_night.items() if one < began})
    found = catalog.count_unlabelled(home, line, ahead) + _came_since(home, line, before, plans)
    strays = dict(sorted(found.items()))
    if strays:
        days = ", ".join([*strays][:_NAMED])
        more = f" and {len(strays) - _NAMED} more days" if len(strays) > _NAMED else ""
        detail = (
            f"Images without a verdict: {sum(strays.values())}, of {days}{more}, for which no "
            "night comes. Look at the clocks of the cameras; run the nightly DAG for these days."
        )
        log.warning("line %s: %s", line, detail)
        put_alert(store, line, day, "stray", "Images of days that no night comes for", detail)
    return strays


def _came_since(home: Home, line: str, before: Counter[str], plans: Sequence[Plan]) -> Counter[str]:
    """Images that came since the nights began, or since the first that can still be read."""
    if not before:
        return Counter()

    def counted(version: int) -> Counter[str] | None:
        try:
            return catalog.count_images(home, line, until=max(before), version=version)
        except DataError as error:
            log.debug("%s", error)
            return None

    # The log of a table is kept for some weeks: older versions are gone, newer ones are there.
    versions = sorted({plan.first_version for plan in plans})
    at = bisect_left(versions, True, key=lambda version: counted(version) is not None)
    then = counted(versions[at]) if at < len(versions) else None
    if then is None:
        return Counter()
    grown = [*(before - then)]
    now = catalog.count_unlabelled(home, line, grown)
    return now - catalog.count_unlabelled(home, line, grown, versions[at])
