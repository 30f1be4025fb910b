"""The proof that a night is complete: every image has one verdict, and the documents count it."""

import logging
from collections import Counter
from dataclasses import dataclass

from ml.data import catalog
from ml.errors import CountError
from ml.inference.night import find_plan, planned_images
from ml.results import Document, ResultStore
from ml.settings import Home

log = logging.getLogger(__name__)

# Objects that a message names before it says how many more.
_NAMED = 10


@dataclass(frozen=True)
class Reconciled:
    """Images that a night planned, predictions of its day, images that its documents count.

    `late` counts, by day, accepted images that came after the night of their day: they have no
    verdict until that night runs again.
    """

    images: int
    predictions: int
    documents: int
    late: dict[str, int]


def reconcile(home: Home, store: ResultStore, line: str, day: str) -> Reconciled:
    """Hold the images that the night planned against predictions and documents.

    Raises CountError that names what differs; `nights.reconciled` says the outcome either way. An
    image that comes late, on this day or an earlier one, is no error, but the night that it was
    too late for is no longer reconciled.
    """
    plan = find_plan(home, line, day)
    planned = (
        catalog.read_images(home, line, day=day) if plan is None else planned_images(home, plan)
    )
    images = planned["object"].to_pylist()
    table = catalog.read_predictions(home, line, day=day)
    nights = {night["day"]: night for night in store.find("nights", {"line": line})}
    shards = store.find("shards", {"line": line, "day": day})
    parts = store.count("parts", {"line": line, "day": day})
    held = sum(verdict != "pass" for verdict in table["verdict"].to_pylist())
    problems = [
        *_differences(images, table["object"].to_pylist()),
        *_unequal("images", len(images), "the night's document", nights.get(day, {}).get("images")),
        *_unequal("images", len(images), "the shards' documents", sum(s["images"] for s in shards)),
        *_unequal("parts not passed", held, "the parts' documents", parts),
    ]
    late = _late(home, line, nights)
    _mark(store, nights, day, whole=not problems, late=late)
    if problems:
        msg = f"{line}, {day}: the night does not add up:\n  " + "\n  ".join(problems)
        raise CountError(msg)
    return Reconciled(len(images), table.num_rows, sum(s["images"] for s in shards), late)


def _late(home: Home, line: str, nights: dict[str, Document]) -> dict[str, int]:
    """Accepted images beyond those that the night of their day counts, by day.

    A day without a night is none of ours: images to learn from are older than the first night.
    """
    accepted = catalog.count_images(home, line)
    beyond = {day: accepted[day] - night["images"] for day, night in sorted(nights.items())}
    return {day: images for day, images in beyond.items() if images > 0}


def _mark(
    store: ResultStore, nights: dict[str, Document], day: str, *, whole: bool, late: dict[str, int]
) -> None:
    for late_day, images in late.items():
        log.warning("%s: %d images came after the night; run it again", late_day, images)
    changed = {}
    for night_day in {day, *late} & set(nights):
        body = dict(nights[night_day])
        done = night_day == day and whole and day not in late
        changed[body.pop("id")] = body | {"reconciled": done}
    store.put("nights", changed)


def _differences(images: list[str], predicted: list[str]) -> list[str]:
    have, want = Counter(predicted), Counter(images)
    return [
        *_named("without a prediction", sorted((want - have).elements())),
        *_named(
            "predicted, but not an accepted image of the day (or twice)",
            sorted((have - want).elements()),
        ),
    ]


def _named(what: str, objects: list[str]) -> list[str]:
    if not objects:
        return []
    more = f" and {len(objects) - _NAMED} more" if len(objects) > _NAMED else ""
    return [f"{len(objects)} {what}: {', '.join(objects[:_NAMED])}{more}"]


def _unequal(what: str, count: int, where: str, found: int | None) -> list[str]:
    return [] if count == found else [f"{count} {what}, but {where}: {found}"]
