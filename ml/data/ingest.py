"""First half of an ingest: list what is new, hash, decode, measure, and stage it.

Nothing is accepted here; `validate.py` decides. A killed ingest leaves no batch or a whole one.
"""

import logging
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from ml.data import catalog
from ml.data.batch import Moment
from ml.data.decide import SUPERSEDED
from ml.data.layout import Facts, describe, has_match, hides_truth, unrecognised
from ml.data.listing import Watermark, scope_of, utc_now
from ml.data.source import BucketSource, Listed, Source, open_source
from ml.data.spread import deal_days
from ml.data.staging import Staged, Work, stage
from ml.errors import EmptySourceError, SourceError, SourceSilentError
from ml.settings import Home, LineConfig

log = logging.getLogger(__name__)

# Keys that a message names.
_NAMED = 3


@dataclass(frozen=True)
class Batch:
    """What one ingest staged. `name` is empty when there was nothing new.

    `held` images were not as listed when they were read, or could not be; a later ingest takes
    them. `left_out` folders and files could not be listed, `unrecognised` ones look like images,
    but the layout has no place for them. `mark` is the watermark for the next
    ingest; None where the last one's stays.
    """

    name: str
    listed: int
    new: int
    held: int = 0
    left_out: int = 0
    unrecognised: int = 0
    mark: Watermark | None = None


def ingest(
    home: Home,
    line: LineConfig,
    *,
    source: str,
    until: str | None,
    threads: int,
    mark: Watermark | None = None,
) -> Batch:
    """Stage every image of `source` that the catalog does not have in this version.

    With a watermark only the days since are listed, where the layout has days (`listing.py`).
    Images captured after the day `until` are left for a later ingest. Raises SourceError when the
    source cannot be listed or holds no image of the line's layout, SourceSilentError when it
    stopped answering or did not list where labels may lie. A bucket without any object is an
    error for a line without images alone: of another one, the bucket may keep objects for a time.
    """
    place = open_source(source)
    now = utc_now()
    scope, moment = scope_of(line, source, mark, now), Moment.of(home, line.name, now)
    try:
        listed, unknown = list_work(line, place, source, scope.prefixes)
    except EmptySourceError as error:
        # An empty folder stays an error: a volume that is not mounted looks just like it.
        if not isinstance(place, BucketSource) or catalog.version(home, line.name, "images") < 0:
            raise
        log.warning("%s; the line has images, so the bucket may have been emptied", error)
        return Batch("", 0, 0)
    if unknown:
        log.warning(
            "%d images are none of layout `%s` and are not taken, such as %s",
            len(unknown),
            line.source.layout.kind,
            ", ".join(unknown[:_NAMED]),
        )
    work = [one for one in listed if until is None or one.day <= until]
    new = _not_in_catalog(home, line.name, work)
    staged = stage(home, line, place, new, threads, moment) if new else Staged("", 0, 0)
    if staged.held:
        log.warning("%d images held; a later ingest takes them", staged.held)
    # What was left must be listed again, also in the folder of a day that is over.
    is_all = not staged.held and not place.left_out and len(work) == len(listed)
    mark = scope.mark if is_all else None
    left_out = len(place.left_out)
    return Batch(staged.name, len(work), staged.images, staged.held, left_out, len(unknown), mark)


def list_work(
    line: LineConfig, place: Source, name: str, prefixes: list[str] | None = None
) -> tuple[list[Work], list[str]]:
    """Every image of a source, or of some of its folders, sorted by key; and what looks like one,
    but is none of the layout.

    `name` is that of the source in errors: a source without an image is wrong, a folder need not
    have any. Raises SourceSilentError when masks or the manifest may be in what was left out,
    EmptySourceError when there is not one object.
    """
    listed = {item.key: item for item in place.list(prefixes)}
    if hides_truth(line.source.layout, place.left_out):
        msg = (
            f"{name}: {place.left_out[0]} cannot be listed: images would come in without their "
            "labels or masks; nothing was taken"
        )
        raise SourceSilentError(msg)
    if not listed and prefixes is None and not place.left_out:
        msg = f"{name}: there is no object in it; check `source.uri`"
        raise EmptySourceError(msg)
    zone = ZoneInfo(line.source.timezone)
    facts = describe(line.source.layout, listed, place.read, is_whole=prefixes is None, zone=zone)
    if prefixes is not None and not has_match(line.source.layout, facts):
        # Odd names of today, or a wrong pattern: only the whole source tells which.
        return list_work(line, place, name)
    if not facts and prefixes is None and place.left_out:
        msg = f"{name}: no images in what can be listed: {place.left_out[0]} cannot be"
        raise SourceSilentError(msg)
    if not facts and prefixes is None:
        msg = (
            f"{name}: no images of layout `{line.source.layout.kind}` among {len(listed)} "
            "objects; check `source.uri` and `source.layout`"
        )
        raise SourceError(msg)
    days = _days(line, facts, listed)
    work = [
        Work(listed[key], fact, days[key], listed.get(fact.mask_key)) for key, fact in facts.items()
    ]
    return work, unrecognised(line.source.layout, listed, facts)


def _days(line: LineConfig, facts: dict[str, Facts], listed: dict[str, Listed]) -> dict[str, str]:
    if line.source.spread is not None:
        return deal_days(line.source.spread, facts.values())
    return {
        key: (fact.captured_at or listed[key].modified).date().isoformat()
        for key, fact in facts.items()
    }


def _not_in_catalog(home: Home, line: str, work: list[Work]) -> list[Work]:
    """What is new, and images whose label came after them."""
    # Compared by name and version, not by time: late, re-ordered and changed objects are all found,
    # and versions that came back after a newer one.
    if not work:
        return []
    columns = ["object", "version", "reason"]
    # Of a night's many images none has a label, and their hashes need not be in memory.
    has_labels = any(_has_label(one) for one in work)
    if has_labels:
        columns += ["sha256", "status"]
    names = pa.array([one.item.key for one in work], pa.string())
    table = catalog.read_images_of(home, line, columns, objects=names)
    table = table.filter(pc.invert(pc.is_in(table["reason"], pa.array(SUPERSEDED))))
    known = set(zip(table["object"].to_pylist(), table["version"].to_pylist(), strict=True))
    late: set[tuple[str, str]] = set()
    if has_labels:
        usable = table.filter(pc.is_in(table["status"], pa.array(["accepted", "duplicate"])))
        has_one = catalog.labelled(home, line, usable["sha256"])
        bare = usable.filter(pc.invert(pc.is_in(usable["sha256"], has_one)))
        late = set(zip(bare["object"].to_pylist(), bare["version"].to_pylist(), strict=True))

    def is_wanted(one: Work) -> bool:
        key = (one.item.key, one.item.version)
        return key not in known or (key in late and _has_label(one))

    return [one for one in work if is_wanted(one)]


def _has_label(one: Work) -> bool:
    return bool(one.facts.label) or one.mask is not None
