"""The proof that a night is complete: every image has one verdict, and the documents count it."""

import logging
from collections import Counter
from dataclasses import dataclass, field
from itertools import groupby

import pyarrow as pa
import pyarrow.compute as pc

from ml.data import catalog, predicted
from ml.errors import CountError
from ml.inference.held import report_empty, report_held
from ml.inference.late import put_alert, settle_alert
from ml.inference.night import Plan, find_plan, planned_images
from ml.inference.overruled import report_overruled
from ml.inference.publish import VERDICTS, part_id
from ml.inference.stray import first_day, report_stray
from ml.results import Document, ResultStore
from ml.settings import Home

log = logging.getLogger(__name__)

# Objects that a message names before it says how many more.
_NAMED = 10


@dataclass(frozen=True)
class Reconciled:
    """Images that a night planned, predictions of its day, images that its documents count.

    `late` counts, by day, images that the night of their day lacks, because they came
    after it or it never ran: they have no verdict until it runs. `late_parts` names their parts, at
    most ten a day. `stray` counts those of days that no night comes for (`stray.py`).
    """

    images: int
    predictions: int
    documents: int
    late: dict[str, int]
    late_parts: dict[str, list[str]]
    stray: dict[str, int]


def reconcile(home: Home, store: ResultStore, line: str, day: str) -> Reconciled:
    """Hold the images that the night planned against predictions, and these against documents.

    Raises CountError that names the parts and shards that differ and what to run;
    `nights.reconciled` says the outcome either way. An image that comes late, on this day or an
    earlier one, is no error, but the night that it was too late for is no longer reconciled.
    """
    plan = find_plan(home, line, day)
    planned = catalog.read_planned(home, line, day) if plan is None else planned_images(home, plan)
    images = planned["object"].to_pylist()
    table = predicted.read(home, line, day=day, embeddings=False)
    nights = {night["day"]: night for night in store.find("nights", {"line": line})}
    shards = store.find("shards", {"line": line, "day": day})
    steps = _Steps(line, day)
    wanted = _counts(table)
    problems = [
        *_differences(_shard_of(images, plan), table, steps),
        *(_of_another_bundle(table, plan.bundle, steps) if plan else []),
        *_unpublished_parts(line, table, store.find("parts", {"line": line, "day": day})),
        *_unpublished_shards(wanted, shards),
        *_unpublished_night(wanted, nights.get(day)),
        *_unequal("images", len(images), "the night's document", nights.get(day, {}).get("images")),
        *_unequal("images", len(images), "the shards' documents", sum(s["images"] for s in shards)),
    ]
    plans = [found for name in nights if (found := find_plan(home, line, name))]
    began = first_day(plans, nights, day)
    due = catalog.count_images(home, line)
    late = _late(home, line, nights, due, began, day)
    _mark(store, nights, day, whole=not problems, late=late)
    for missed in late.keys() - nights.keys():
        detail = f"{late[missed].images} images have no verdict; run the nightly DAG for that day."
        put_alert(store, line, missed, "missed", f"The night of {missed} never ran", detail)
    if day in nights:
        settle_alert(store, line, day, "missed", f"The night of {day} never ran", "")
    report_held(store, line, day, table)
    report_empty(store, line, day, len(images), nights)
    report_overruled(home, store, line, day, table)
    without_night = {one: n for one, n in due.items() if one not in nights}
    stray = report_stray(home, store, line, day, began, plans, without_night)
    if problems:
        run = "\n  ".join([*problems, *steps.commands()])
        raise CountError(f"{line}, {day}: the night does not add up:\n  {run}")
    return Reconciled(
        len(images),
        table.num_rows,
        sum(shard["images"] for shard in shards),
        {late_day: one.images for late_day, one in late.items()},
        {late_day: [*one.parts][:_NAMED] for late_day, one in late.items()},
        stray,
    )


@dataclass
class _Late:
    """Images that a day's night lacks, and the parts of those without a prediction, each once."""

    images: int = 0
    parts: dict[str, None] = field(default_factory=dict)


class _Steps:
    """What to run again, in the order of the night."""

    def __init__(self, line: str, day: str) -> None:
        self._options = f"--line {line} --day {day}"
        self.shards: set[int] = set()
        self.plan = False

    def commands(self) -> list[str]:
        plan = [f"loupe shards {self._options}"] if self.plan else []
        inspect = [f"loupe predict {self._options} --shard {one}" for one in sorted(self.shards)]
        if self.plan:
            inspect = [f"loupe predict {self._options}"]
        last = [f"loupe {step} {self._options}" for step in ("publish", "reconcile")]
        return [f"run: {command}" for command in (*plan, *inspect, *last)]


def _shard_of(images: list[str], plan: Plan | None) -> list[tuple[int, str]]:
    """Each planned image with its shard."""
    sizes = plan.sizes if plan else (len(images),)
    shards = (shard for shard, size in enumerate(sizes) for _ in range(size))
    return list(zip(shards, images, strict=True))


def _late(
    home: Home,
    line: str,
    nights: dict[str, Document],
    due: Counter[str],
    began: str,
    until: str,
) -> dict[str, _Late]:
    """Images due that no prediction is for, or beyond those that a night counts, by day.

    A day without a night counts, too, between the day the nights `began` and `until`: the scheduler
    was down, or its images came late. Days before, or whose images all have labels, are none of
    ours: they have images to learn from.
    """
    between = [day for day in due.keys() - nights.keys() if began < day < until]
    missed = catalog.count_unlabelled(home, line, between)
    late = {day: _Late() for day in sorted(missed.keys() | nights.keys())}
    for row in predicted.read_missing(home, line, late):
        one = late[row["day"]]
        one.images += row["images"]
        one.parts[row["part"]] = None
    # What was predicted again but not published has no name here.
    for day, one in late.items():
        counted = nights[day]["images"] if day in nights else 0
        one.images = max(one.images, due[day] - counted)
    return {day: one for day, one in late.items() if one.images}


def _mark(
    store: ResultStore,
    nights: dict[str, Document],
    day: str,
    *,
    whole: bool,
    late: dict[str, _Late],
) -> None:
    for late_day, one in late.items():
        parts = "".join(f" ({text})" for text in _named("parts", [*one.parts]))
        log.warning("%s: the night lacks %d images%s; run it", late_day, one.images, parts)
    changed = {}
    for night_day in {day, *late} & set(nights):
        body = dict(nights[night_day])
        name = body.pop("id")
        changed[name] = body | {"reconciled": night_day == day and whole and day not in late}
    store.put("nights", changed)


def _differences(images: list[tuple[int, str]], table: pa.Table, steps: _Steps) -> list[str]:
    have = Counter(zip(table["shard"].to_pylist(), table["object"].to_pylist(), strict=True))
    missing = sorted((Counter(images) - have).elements())
    beyond = sorted((have - Counter(images)).elements())
    steps.shards |= {shard for shard, _ in missing}
    # A row that no plan asks for goes only when its shard is written again, or the day planned.
    steps.plan = bool(beyond)
    return [
        *_by_shard("without a prediction", missing),
        *_by_shard("predicted, but no image of the plan (or twice)", beyond),
    ]


def _of_another_bundle(table: pa.Table, bundle: str, steps: _Steps) -> list[str]:
    """Shards that another bundle than the night's inspected: an older plan, or a late retry."""
    rows = Counter(zip(table["shard"].to_pylist(), table["bundle"].to_pylist(), strict=True))
    wrong = sorted((shard, name, n) for (shard, name), n in rows.items() if name != bundle)
    steps.shards |= {shard for shard, _, _ in wrong}
    return [
        f"shard {shard}: {n} predictions of bundle {name or '(none)'}; the night's is {bundle}"
        for shard, name, n in wrong
    ]


def _unpublished_parts(line: str, table: pa.Table, parts: list[Document]) -> list[str]:
    """Where the documents of the parts say other than the predictions."""
    columns = ["day", "shard", "object", "sha256", "verdict", "reason", "bundle"]
    rows = table.select(columns).filter(pc.not_equal(table["verdict"], "pass")).to_pylist()
    held = {part_id(line, row): row for row in rows}
    known = {part["id"]: part for part in parts}
    lost = [(held[name]["shard"], held[name]["object"]) for name in held.keys() - known.keys()]
    stale = [part["object"] for name, part in known.items() if name not in held]
    other = [
        (row["shard"], row["object"])
        for name, row in held.items()
        if name in known and any(known[name].get(key) != row[key] for key in ("verdict", "bundle"))
    ]
    return [
        *_by_shard("parts not passed, without a document", sorted(lost)),
        *_by_shard("parts whose documents say another verdict or bundle", sorted(other)),
        *_named("parts' documents that no prediction asks for", sorted(stale)),
    ]


def _counts(table: pa.Table) -> dict[int, Document]:
    """What the document of each shard must say of its predictions."""
    groups = table.group_by(["shard", "verdict", "bundle"]).aggregate([([], "count_all")])
    found: dict[int, Document] = {}
    for row in sorted(groups.to_pylist(), key=lambda row: (row["shard"], row["bundle"])):
        one = found.setdefault(row["shard"], dict.fromkeys(VERDICTS, 0) | {"bundle": []})
        one[row["verdict"]] += row["count_all"]
        if row["bundle"] not in one["bundle"]:
            one["bundle"].append(row["bundle"])
    return {n: one | {"bundle": ", ".join(one["bundle"])} for n, one in sorted(found.items())}


def _unpublished_shards(wanted: dict[int, Document], shards: list[Document]) -> list[str]:
    """Where the documents of the shards say other than the predictions."""
    known = {shard["shard"]: shard for shard in shards}
    problems = []
    for number in sorted(known.keys() | wanted.keys()):
        rows, said = wanted.get(number), known.get(number)
        count = 0 if rows is None else sum(rows[name] for name in VERDICTS)
        images = None if said is None else said["images"]
        if count != images:
            problems.append(f"shard {number}: {count} predictions, its document: {images}")
        elif rows is not None and said is not None:
            problems += _says_other(f"shard {number}: its document", said, rows)
    return problems


def _unpublished_night(wanted: dict[int, Document], night: Document | None) -> list[str]:
    """Where the night's document says other than the predictions; its images are counted apart."""
    if night is None:
        return []
    rows: Document = {name: sum(one[name] for one in wanted.values()) for name in VERDICTS}
    rows["bundle"] = ", ".join(sorted({one["bundle"] for one in wanted.values()}))
    return _says_other("the night's document", night, rows)


def _says_other(what: str, document: Document, rows: Document) -> list[str]:
    said, wanted = _verdicts_of(document), _verdicts_of(rows)
    return [] if said == wanted else [f"{what} says {said}; its predictions {wanted}"]


def _verdicts_of(one: Document) -> str:
    counts = ", ".join(f"{one.get(name)} {name}" for name in VERDICTS)
    return f"{counts} of bundle {one.get('bundle') or '(none)'}"


def _by_shard(what: str, objects: list[tuple[int, str]]) -> list[str]:
    return [
        f"shard {shard}: {text}"
        for shard, group in groupby(objects, key=lambda one: one[0])
        for text in _named(what, [name for _, name in group])
    ]


def _named(what: str, objects: list[str]) -> list[str]:
    if not objects:
        return []
    more = f" and {len(objects) - _NAMED} more" if len(objects) > _NAMED else ""
    return [f"{len(objects)} {what}: {', '.join(objects[:_NAMED])}{more}"]


def _unequal(what: str, count: int, where: str, found: int | None) -> list[str]:
    return [] if count == found else [f"{count} {what}, but {where}: {found}"]
