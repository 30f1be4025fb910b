"""First half of an ingest: list what is new, hash, decode, measure, and stage it.

Nothing is accepted here; `validate.py` decides. A killed ingest leaves no batch or a whole one.
"""

import logging
from dataclasses import dataclass

from ml.data import catalog
from ml.data.layout import Facts, describe
from ml.data.source import Listed, Source, open_source
from ml.data.spread import deal_days
from ml.data.staging import Work, stage
from ml.errors import SourceError
from ml.settings import Home, LineConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """What one ingest staged. `name` is empty when there was nothing new.

    `held` images were not as listed when they were read; a later ingest takes them.
    """

    name: str
    listed: int
    new: int
    held: int = 0


def ingest(home: Home, line: LineConfig, *, source: str, until: str | None, threads: int) -> Batch:
    """Stage every image of `source` that the catalog does not have in this version.

    Images captured after the day `until` are left for a later ingest. Raises SourceError when the
    source cannot be listed or holds no image of the line's layout, SourceSilentError when it
    stopped answering.
    """
    place = open_source(source)
    work = [one for one in list_work(line, place, source) if until is None or one.day <= until]
    new = _not_in_catalog(home, line.name, work)
    if not new:
        return Batch("", len(work), 0)
    staged = stage(home, line, place, new, threads)
    if staged.held:
        log.warning("%d images were not as listed; a later ingest takes them", staged.held)
    return Batch(staged.name, len(work), staged.images, staged.held)


def list_work(line: LineConfig, place: Source, name: str) -> list[Work]:
    """Every image of a source, sorted by key; `name` is that of the source in errors."""
    listed = {item.key: item for item in place.list()}
    facts = describe(line.source.layout, listed, place.read)
    if not facts:
        msg = (
            f"{name}: no images of layout `{line.source.layout.kind}` among {len(listed)} "
            "objects; check `source.uri` and `source.layout`"
        )
        raise SourceError(msg)
    days = _days(line, facts, listed)
    return [
        Work(listed[key], fact, days[key], listed.get(fact.mask_key)) for key, fact in facts.items()
    ]


def _days(line: LineConfig, facts: dict[str, Facts], listed: dict[str, Listed]) -> dict[str, str]:
    if line.source.spread is not None:
        return deal_days(line.source.spread, facts.values())
    return {
        key: (fact.captured_at or listed[key].modified).date().isoformat()
        for key, fact in facts.items()
    }


def _not_in_catalog(home: Home, line: str, work: list[Work]) -> list[Work]:
    # Compared by name and version, not by time: late, re-ordered and changed objects are all found.
    table = catalog.read_images(home, line, status=None)
    known = set(zip(table["object"].to_pylist(), table["version"].to_pylist(), strict=True))
    return [one for one in work if (one.item.key, one.item.version) not in known]
