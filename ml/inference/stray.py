"""Images of days that no night comes for: their capture times are probably wrong."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
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


def first_night(plans: Sequence[Plan]) -> Plan:
    """The night that was planned first. A backfill of earlier days comes after it."""
    return min(plans, key=lambda plan: (plan.images_version, plan.day))


def report_stray(
    home: Home,
    store: ResultStore,
    line: str,
    day: str,
    plans: Sequence[Plan],
    accepted: Mapping[str, int],
) -> dict[str, int]:
    """Count images without a label that no night inspects, by day, and write an alert about them.

    They came after the nights had begun, but are of a day before the first one, as of a camera that
    lost its clock; or of one more than a day ahead of both `day` and now. `plans` are those of all
    nights, `accepted` counts the images of each day.
    """
    found = _find(home, line, day, plans, accepted) if plans else {}
    strays = dict(sorted(found.items()))
    if strays:
        days = ", ".join([*strays][:_NAMED])
        more = f" and {len(strays) - _NAMED} more days" if len(strays) > _NAMED else ""
        detail = (
            f"{sum(strays.values())} images of {days}{more} came after the nights began and have "
            "no verdict. Look at the clocks of the cameras; run the nightly DAG for these days."
        )
        log.warning("line %s: %s", line, detail)
        put_alert(store, line, min(strays), "stray", "Days that no night comes for", detail)
    return strays


def _find(
    home: Home, line: str, day: str, plans: Sequence[Plan], accepted: Mapping[str, int]
) -> Counter[str]:
    soon = max(date.fromisoformat(day), datetime.now(UTC).date()) + timedelta(days=1)
    first = first_night(plans).day
    idle = accepted.keys() - {plan.day for plan in plans}
    ahead = [one for one in idle if one > soon.isoformat()]
    before = Counter({one: accepted[one] for one in idle if one < first})
    return catalog.count_unlabelled(home, line, ahead) + _came_since(home, line, before, plans)


def _came_since(home: Home, line: str, before: Counter[str], plans: Sequence[Plan]) -> Counter[str]:
    """Images that came since the nights began, or since the first that can still be read."""
    for version in sorted({plan.images_version for plan in plans} if before else ()):
        try:
            then = catalog.count_images(home, line, until=max(before), version=version)
            grown = [*(before - then)]
            known = catalog.count_unlabelled(home, line, grown, version)
        except DataError as error:
            log.debug("%s", error)
            continue
        return catalog.count_unlabelled(home, line, grown) - known
    return Counter()
