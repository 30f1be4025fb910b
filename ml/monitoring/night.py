"""What a night's checks compare: its scored images and the reference of the bundle behind them."""

from collections import Counter
from dataclasses import dataclass

import pyarrow.parquet as pq

from ml.bundle import load_bundle
from ml.data import catalog, predicted
from ml.data.day import check_day
from ml.errors import DataError
from ml.monitoring.compare import TESTS, Columns, Rows, both_sides
from ml.monitoring.statistics import can_reject
from ml.settings import Home, LineConfig


@dataclass(frozen=True)
class Night:
    """A day's scored images. Where `note` says why they cannot be tested, there are no sides.

    `sides` are reference and current, one row per group. `bundle` is empty unless all images were
    scored by one.
    """

    images: int
    groups: int
    bundle: str
    sides: tuple[Columns, Columns] | None
    note: str


def read_night(home: Home, line: LineConfig, day: str) -> Night:
    """The scored images of a day beside the reference of the bundle that scored them.

    Not the champion of today: after a promotion an earlier day must still give the same result.
    Raises DataError when the day was not inspected, BundleError when its bundle was altered.
    """
    images = catalog.read_images(home, line.name, day=check_day(day)).to_pylist()
    predictions = predicted.read(home, line.name, day=day).to_pylist()
    if images and not predictions:
        msg = f"line {line.name}: no predictions of {day}; run `loupe predict`"
        raise DataError(msg)
    measured = {row["sha256"]: row for row in images}
    rows = [
        measured[row["sha256"]] | row
        for row in predictions
        if row["p_defect"] is not None and row["sha256"] in measured
    ]
    groups = len({row["group"] for row in rows})
    bundles = sorted({row["bundle"] for row in rows})
    bundle = bundles[0] if len(bundles) == 1 else ""
    if len(bundles) > 1:
        note = f"inspected by several bundles ({', '.join(bundles)}); inspect the day again"
    elif not rows:
        note = _nothing(predictions)
    elif groups < line.monitor.min_images:
        note = f"too few groups: {groups} of {line.monitor.min_images}"
    else:
        return _beside_reference(home, line, rows, groups, bundle)
    return Night(len(rows), groups, bundle, None, note)


def _nothing(predictions: Rows) -> str:
    if not predictions:
        return "no images on this day"
    reasons = Counter(row["reason"] or "not in the catalog" for row in predictions)
    return f"no image could be inspected: {reasons.most_common(1)[0][0]}"


def _beside_reference(home: Home, line: LineConfig, rows: Rows, groups: int, name: str) -> Night:
    bundle = load_bundle(home, name)
    table = pq.read_table(bundle.reference)
    known = len(table["group"].unique()) if "group" in table.column_names else None
    if known is None:
        note = f"the reference of bundle {name} does not know its groups; train again"
    elif not can_reject(known, groups, line.monitor.alpha / TESTS):
        note = f"too few groups in the reference of bundle {name}: {known}"
    else:
        limit = bundle.card.thresholds.pass_below
        sides = both_sides(table.to_pylist(), rows, limit)
        return Night(len(rows), groups, name, sides, "")
    return Night(len(rows), groups, name, None, note)
