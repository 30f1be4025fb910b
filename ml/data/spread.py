"""Days for image sets that have no capture times: whole groups are dealt over days."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta

from ml.data.layout import Facts
from ml.files import content_key
from ml.settings.source import SpreadConfig


def deal_days(spread: SpreadConfig, facts: Iterable[Facts]) -> dict[str, str]:
    """A day (`YYYY-MM-DD`) for each key. A group has one day; each kind of group meets all days.

    The order within a kind is by hash, so it does not depend on names or on the listing.
    """
    facts = list(facts)
    kinds: dict[str, set[str]] = defaultdict(set)
    for fact in facts:
        kinds[fact.group].add(fact.defect_type or fact.label)
    by_kind: dict[str, list[str]] = defaultdict(list)
    for group, found in kinds.items():
        by_kind[",".join(sorted(found))].append(group)
    day_of: dict[str, str] = {}
    dealt = 0
    for kind in sorted(by_kind):
        for group in sorted(by_kind[kind], key=content_key):
            day_of[group] = (spread.start + timedelta(days=dealt % spread.days)).isoformat()
            dealt += 1
    return {fact.key: day_of[fact.group] for fact in facts}


def spread_days(spread: SpreadConfig) -> list[str]:
    """All the days of a spread, first to last."""
    return [(spread.start + timedelta(days=day)).isoformat() for day in range(spread.days)]
