"""Images of days that no night comes for: their capture times are probably wrong."""

import logging
from collections import Counter
from collections.abc import Sequence
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
    home: Home, store: ResultStore, line: str, day: str, plans: Sequence[Plan]
) -> dict[str, int]:
    """Count images without a label that no night inspects, by day, and write an alert about them.

    They came after the nights had begun, but are of a day before the first one, as of a camera that
    lost its clock; or of one more than a day ahead of both `day` and now.
    """
    strays = dict(sorted(_find(home, line, day, plans).items())) if plans else {}
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


def _find(home: Home, line: str, day: str, plans: Sequence[Plan]) -> Counter[str]:
    soon = max(date.fromisoformat(day), datetime.now(UTC).date()) + timedelta(days=1)
    first = first_night(plans).day
    accepted = catalog.count_images(home, line)
    for plan in plans:
        del accepted[plan.day]
    ahead = [one for one in accepted if one > soon.isoformat()]
    before = Counter({one: n for one, n in accepted.items() if one < first})
    return catalog.count_unlabelled(home, line, ahead) + _came_since(home, line, before, plans)


def _came_since(
    home: Home, line: str, accepted: Counter[str], plans: Sequence[Plan]
) -> Counter[str]:
    """Images that came since the nights began, or since the first that can still be read."""
    for version in sorted({plan.images_version for plan in plans} if accepted else ()):
        try:
            days = [*(accepted - catalog.count_images(home, line, version))]
            then = catalog.count_unlabelled(home, line, days, version)
        except DataError as error:
            log.debug("%s", error)
            continue
        return catalog.count_unlabelled(home, line, days) - then
    return Counter()
