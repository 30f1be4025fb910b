"""The plan of a night: which images, in which shards, under which bundle.

It has every image of the day that somebody would miss: those to be inspected, and those that are
held for review unread, since a part without a verdict would look like one that passed.

All three are fixed when the night begins: neither a promotion nor an ingest during the night can
mix two bundles, or shift an image from one shard to another. A file beside the plan has what the
inspection needs of its images, a row group for each shard: a process that inspects some shards of
a night of a million images reads these alone.
"""

import io
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ml import files
from ml.audit.promotions import Rejection, Switch
from ml.bundle import load_bundle
from ml.bundle.history import refused
from ml.bundle.live import live_name, waiting_name
from ml.data import catalog, predicted
from ml.data.day import check_day
from ml.errors import BundleError, DataError, LedgerError
from ml.settings import Home, LineConfig

log = logging.getLogger(__name__)

# What makes an image of the catalog that image.
_IDENTITY = ["object", "version", "sha256"]
# What the inspection of an image needs of it.
_NEEDED = ["object", "sha256", "part", "lot", "camera", "captured_at", "height", "width"]
# Of the images beside a plan: the version of the catalog that they are of.
_VERSION = "images_version"
_MEGABYTE = 1_000_000
# Instead of a bundle's name: the challenger that waits for its promotion, if any does.
WAITING = "waiting"


@dataclass(frozen=True)
class Plan:
    """A day's images, as one version of the catalog has them, dealt into shards.

    `sizes` counts the images of each shard, in the catalog's order of objects. `bundle` is empty
    when the line has no champion. `shadow` is a challenger that scores the same images, or empty.
    `first_version` is the one that the day's first plan had. `held` says that images that are held
    unread are among them: quarantined ones, and duplicates of another part's image.
    """

    line: str
    day: str
    bundle: str
    images_version: int
    first_version: int
    sizes: tuple[int, ...]
    shadow: str = ""
    held: bool = True

    @property
    def images(self) -> int:
        """Images of the night."""
        return sum(self.sizes)


def plan_night(
    home: Home,
    line: LineConfig,
    day: str,
    bundle: str | None = None,
    shadow: str | None = None,
) -> Plan:
    """Plan a night, write the plan and its images; shards of a longer earlier plan are dropped.

    The night inspects with the champion, or with `bundle`; beside it scores the line's shadow, or
    `shadow`: a bundle, or WAITING. A day that is planned again has the images that came since;
    where none did, the plan keeps its version. Raises DataError when `day` is not a day, and
    BundleError when a bundle that was asked for cannot inspect this line; nothing is written then.
    """
    # A typing error must not replace the verdicts of a day by `all held`.
    for asked in (bundle, shadow):
        if asked and asked != WAITING:
            load_bundle(home, asked, line.name)
    known = find_plan(home, line.name, day)
    version = catalog.version(home, line.name, "images")
    images = catalog.read_planned(home, line.name, day, version, [*_IDENTITY, "bytes"])
    if known is not None:
        if _has(home, known, images):
            version = known.images_version
        else:
            log.warning("%s: %d images planned, now %d", day, known.images, images.num_rows)
    bundle = bundle or _or_none(live_name, home, line.name)
    shadow = shadow or line.night.shadow
    if shadow == WAITING:
        shadow = _or_none(waiting_name, home, line.name)
    sizes = deal(images["bytes"].to_pylist(), line.night.shard_images, line.night.shard_megabytes)
    first = version if known is None else known.first_version
    plan = Plan(line.name, day, bundle, version, first, sizes, shadow)
    _write_images(home, plan)
    files.write_json(home.night(line.name, day), asdict(plan))
    count = len(plan.sizes)
    predicted.drop_shards_from(home, line.name, day, count)
    same_shadow = known is not None and known.shadow == plan.shadow != ""
    predicted.drop_shards_from(home, line.name, day, count if same_shadow else 0, "shadow")
    return plan


def warnings_of(home: Home, line: str, bundle: str) -> list[str]:
    """What somebody who asks for a bundle by name must know: that it was refused, and by whom.

    They may have their reasons, so it stops nothing, nor does a ledger that was altered.
    """
    try:
        entries = refused(home, line, bundle)
    except LedgerError as error:
        found = [f"whether bundle {bundle} was rolled back or rejected is not known: {error}"]
    else:
        found = [f"bundle {bundle} was {what} {_by_whom(entry)}" for what, entry in entries.items()]
    for warning in found:
        log.warning("%s", warning)
    return found


def _by_whom(entry: Switch | Rejection) -> str:
    at = "an unknown time" if entry.at is None else entry.at.isoformat(timespec="seconds")
    why = f": {entry.reason}" if entry.reason else ""
    return f"by {entry.by} at {at}{why}; it inspects, as it was asked for by name"


def find_plan(home: Home, line: str, day: str) -> Plan | None:
    """The plan of a night, or None; one of an earlier Loupe, without a version, is none.

    Nor is one that cannot be understood: it must not stop the other days, and is planned anew by
    the next step that needs it. Where another bundle is the champion by then, `reconcile` names
    the shards that the earlier one inspected.
    """
    path = home.night(line, check_day(day))
    try:
        return _understood(files.read_json(path))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        log.warning(
            "%s: not a plan (%s); the next `shards` or `predict` of the day plans it anew",
            path,
            error,
        )
        return None


def _understood(content: dict[str, Any]) -> Plan | None:
    if "images_version" not in content:
        return None
    content.setdefault("first_version", content["images_version"])
    # Plans of an earlier Loupe have usable images alone.
    content.setdefault("held", False)
    if "shard_images" in content:
        # A plan of an earlier Loupe, whose shards were dealt by count alone.
        images, most = content.pop("images"), content.pop("shard_images")
        content["sizes"] = deal([0] * images, most, 1)
    return Plan(**content | {"sizes": tuple(content["sizes"])})


def read_plan(home: Home, line: LineConfig, day: str) -> Plan:
    """The plan of a night, made now where there is none."""
    return find_plan(home, line.name, day) or plan_night(home, line, day)


def deal(sizes: Sequence[int], most_images: int, most_megabytes: int) -> tuple[int, ...]:
    """How many images each shard gets, in order, from the bytes of each image.

    No shard has more images or more bytes than it may; an image that is larger has one alone.
    """
    shards: list[int] = []
    filled = 0
    for size in sizes:
        if not shards or shards[-1] == most_images or filled + size > most_megabytes * _MEGABYTE:
            shards.append(0)
            filled = 0
        shards[-1] += 1
        filled += size
    return tuple(shards)


def planned_images(
    home: Home, plan: Plan, columns: Sequence[str] = tuple(catalog.IMAGES.names)
) -> pa.Table:
    """The images of a plan, in the order of its shards; DataError when their version is gone.

    `held` says why an image is not to be read; null where it is inspected.
    """
    if plan.held:
        return catalog.read_planned(home, plan.line, plan.day, plan.images_version, columns)
    images = catalog.read_images(
        home, plan.line, day=plan.day, version=plan.images_version, columns=columns
    )
    return images.append_column("held", pa.nulls(images.num_rows, pa.string()))


def shard_rows(home: Home, plan: Plan, shards: Sequence[int]) -> Iterator[dict[str, Any]]:
    """The images of these shards with their `shard`, in a fixed order.

    Raises DataError when there is no such shard.
    """
    have = len(plan.sizes)
    for shard in shards:
        if not 0 <= shard < have:
            msg = f"{plan.line}, {plan.day}: no shard {shard}; the plan has {have} (from 0)"
            raise DataError(msg)
    return _rows_of(home, plan, shards)


def _rows_of(home: Home, plan: Plan, shards: Sequence[int]) -> Iterator[dict[str, Any]]:
    beside, images = _open_images(home, plan), None
    for shard in shards:
        try:
            part = None if beside is None else beside.read_row_group(shard)
        except (OSError, pa.ArrowException) as error:
            log.warning("shard %d: read from the catalog instead: %s", shard, error)
            part = None
        if part is None:
            if images is None:
                images = planned_images(home, plan, _NEEDED)
                # What reading took besides would stay with the process for the whole night.
                pa.default_memory_pool().release_unused()
            part = images.slice(sum(plan.sizes[:shard]), plan.sizes[shard])
        yield from ({"shard": shard, **row} for row in part.to_pylist())


def _write_images(home: Home, plan: Plan) -> None:
    images = planned_images(home, plan, _NEEDED)
    images = images.replace_schema_metadata({_VERSION: str(plan.images_version)})
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, images.schema, write_page_checksum=True) as writer:
        start = 0
        for size in plan.sizes:
            writer.write_table(images.slice(start, size), row_group_size=size)
            start += size
    files.write_bytes(home.night_images(plan.line, plan.day), sink.getbuffer())


def _open_images(home: Home, plan: Plan) -> pq.ParquetFile | None:
    """The images of a plan; None beside one of an older Loupe, or one that was killed halfway."""
    path = home.night_images(plan.line, plan.day)
    try:
        found = pq.ParquetFile(path, page_checksum_verification=True)
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException) as error:
        log.warning("%s: read from the catalog instead: %s", path, error)
        return None
    version = (found.schema_arrow.metadata or {}).get(_VERSION.encode(), b"").decode()
    groups = map(found.metadata.row_group, range(found.num_row_groups))
    same = version == str(plan.images_version) and tuple(g.num_rows for g in groups) == plan.sizes
    return found if same else None


def _has(home: Home, plan: Plan, images: pa.Table) -> bool:
    """Whether a plan has exactly these images."""
    try:
        planned = planned_images(home, plan, _IDENTITY)
    except DataError as error:
        log.warning("%s", error)
        return False
    return bool(planned.equals(images.select([*_IDENTITY, "held"])))


def _or_none(name_of: Callable[[Home, str], str | None], home: Home, line: str) -> str:
    try:
        return name_of(home, line) or ""
    except BundleError as error:
        # The night goes on: without a champion every part is held, and a shadow decides nothing.
        log.error("%s", error)
        return ""
