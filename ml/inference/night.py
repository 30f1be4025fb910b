"""The plan of a night: which images, in which shards, under which bundle.

The bundle is fixed when the night begins, so that a promotion during the night does not mix two.
"""

import logging
from dataclasses import asdict, dataclass
from typing import Any

from ml import files
from ml.bundle.live import live_name
from ml.data import catalog
from ml.data.day import check_day
from ml.errors import BundleError, DataError
from ml.settings import Home, LineConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """A day's images dealt into shards; `bundle` is empty when the line has no champion."""

    line: str
    day: str
    bundle: str
    images: int
    shard_images: int

    @property
    def sizes(self) -> list[int]:
        """Images in each shard."""
        starts = range(0, self.images, self.shard_images)
        return [min(self.shard_images, self.images - start) for start in starts]


def plan_night(home: Home, line: LineConfig, day: str) -> Plan:
    """Plan a night and write the plan; shards of a longer earlier plan are dropped.

    Raises DataError when `day` is not a day.
    """
    images = catalog.read_images(home, line.name, day=check_day(day)).num_rows
    plan = Plan(line.name, day, _champion(home, line.name), images, line.night.shard_images)
    files.write_json(home.night(line.name, day), asdict(plan))
    catalog.drop_shards_from(home, line.name, day, len(plan.sizes))
    return plan


def read_plan(home: Home, line: LineConfig, day: str) -> Plan:
    """The plan of a night, made now where there is none."""
    path = home.night(line.name, check_day(day))
    return Plan(**files.read_json(path)) if path.exists() else plan_night(home, line, day)


def shard_rows(home: Home, plan: Plan, shard: int) -> list[dict[str, Any]]:
    """The images of one shard, in a fixed order; raises DataError when there is no such shard."""
    if not 0 <= shard < len(plan.sizes):
        msg = f"{plan.line}, {plan.day}: no shard {shard}; the plan has {len(plan.sizes)} (from 0)"
        raise DataError(msg)
    images = catalog.read_images(home, plan.line, day=plan.day)
    return images.slice(shard * plan.shard_images, plan.sizes[shard]).to_pylist()  # type: ignore[no-any-return]


def _champion(home: Home, line: str) -> str:
    try:
        return live_name(home, line) or ""
    except BundleError as error:
        # The night goes on: without a champion every part is held for review.
        log.error("%s", error)
        return ""
