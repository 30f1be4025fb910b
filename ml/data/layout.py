"""What the names in a source mean: which objects are images, their labels, masks and groups."""

import csv
import io
import logging
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from pathlib import PurePosixPath

from ml.errors import SourceError
from ml.settings.source import LayoutConfig

log = logging.getLogger(__name__)

# Where a row of a manifest has what lies beyond its columns.
_BEYOND = "\n"
# A clock that was reset begins in 1970 or 1980.
_FIRST_YEAR = 2000
# Names in a message.
_NAMED = 10
_IMAGES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
# Of several masks of an image, the first one: a labelme document before pictures.
_MASKS = (".json", ".png", ".bmp", ".jpg", ".jpeg", ".tif", ".tiff")
_NOT_IMAGES = {".csv", ".json", ".md", ".txt", ".tsv", ".toml", ".xml", ".yaml", ".yml"}


@dataclass(frozen=True)
class Facts:
    """What a name says of an image. Empty text is unknown; `label` is `ok`, `defect` or empty.

    `problem` is why the image cannot be accepted, or empty.
    """

    key: str
    label: str = ""
    defect_type: str = ""
    mask_key: str = ""
    part: str = ""
    lot: str = ""
    group: str = ""
    camera: str = ""
    captured_at: datetime | None = None
    problem: str = ""


def describe(
    config: LayoutConfig,
    keys: Iterable[str],
    read: Callable[[str], bytes],
    *,
    is_whole: bool = True,
    zone: tzinfo = UTC,
) -> dict[str, Facts]:
    """The facts of every image among `keys`; other objects are left out.

    A capture time that names no zone is one of `zone`. An image with a wrong capture time has
    `bad_time` as its problem, one of which the manifest says two things `label_conflict`. Raises
    SourceError naming the manifest when a needed one is missing or wrong, a pattern that matches no
    image of a whole source, and an image called `ok` where that is no name of a good one.
    """
    keys = set(keys)
    manifest, disputed = _manifest(config, keys, read)
    if is_whole and (missing := manifest.keys() - keys):
        log.warning(
            "%s: %d of its %d paths are not in the source: %s",
            config.manifest,
            len(missing),
            len(manifest),
            some_of(missing),
        )
    reader = {
        "class_folders": _class_folders,
        "masks": _masks,
        "mvtec": _mvtec,
        "manifest": _manifest_only,
    }[config.kind]
    masks = _masks_by_name(config, keys)
    facts = {}
    for key in sorted(keys):
        if PurePosixPath(key).suffix.lower() in _NOT_IMAGES:
            continue
        base = reader(config, key, masks, manifest)
        if base is not None:
            facts[key] = _complete(config, base, manifest.get(key, {}), zone)
        if key in facts and key in disputed:
            facts[key] = replace(facts[key], label="", defect_type="", problem="label_conflict")
    if is_whole and not has_match(config, facts):
        # Else every group would fall back to a file name, and a part be split from itself.
        msg = (
            f"`source.layout.pattern` {config.pattern!r} matches none of {len(facts)} images, "
            f"such as {next(iter(facts))}"
        )
        raise SourceError(msg)
    _log_unmatched(config, facts)
    return facts


def _log_unmatched(config: LayoutConfig, keys: Collection[str]) -> None:
    # Their part is their file name, and what the pattern knows of others is unknown of them.
    pattern = config.pattern
    unmatched = [key for key in keys if not re.search(pattern, key)] if pattern else []
    if 0 < len(unmatched) < len(keys):
        log.warning(
            "%d of %d images do not match `source.layout.pattern`: %s",
            len(unmatched),
            len(keys),
            some_of(unmatched),
        )


def unrecognised(
    config: LayoutConfig, keys: Iterable[str], facts: Mapping[str, Facts]
) -> list[str]:
    """The keys that end like those of images, but that the layout takes for nothing, sorted."""
    truth = _truth(config)
    masks = {one.mask_key for one in facts.values()}
    return [
        key
        for key in sorted(keys)
        if key not in facts
        and key not in masks
        and PurePosixPath(key).suffix.lower() in _IMAGES
        and not (truth and PurePosixPath(key).is_relative_to(truth))
    ]


def has_match(config: LayoutConfig, keys: Collection[str]) -> bool:
    """Whether the pattern matches any of these images; so it does where there is none of either."""
    pattern = config.pattern
    return not keys or not pattern or any(re.search(pattern, key) for key in keys)


def hides_truth(config: LayoutConfig, left_out: Collection[str]) -> bool:
    """Whether masks or the manifest may be among keys that could not be listed.

    An image would come in without them, and for good.
    """
    places = [place for place in (_truth(config), config.manifest) if place is not None]
    if "mask" in config.columns:
        places.append("")  # a manifest may name any key
    return any(
        key.is_relative_to(place) or place.is_relative_to(key)
        for key in map(PurePosixPath, left_out)
        for place in map(PurePosixPath, places)
    )


def some_of(names: Collection[str]) -> str:
    """The first ten of some names, for a message."""
    return ", ".join(sorted(names)[:_NAMED]) + (", …" if len(names) > _NAMED else "")


def _truth(config: LayoutConfig) -> str | None:
    """The folder of the masks."""
    return {"masks": config.masks, "mvtec": "ground_truth"}.get(config.kind)


_Manifest = dict[str, dict[str, str]]
# The key of each mask, by its name without a suffix.
_Masks = dict[str, str]


def _manifest(
    config: LayoutConfig, keys: set[str], read: Callable[[str], bytes]
) -> tuple[_Manifest, set[str]]:
    """The row of each path, and the paths of which two rows say different things."""
    if config.manifest is None:
        return {}, set()
    if config.manifest not in keys:
        msg = f"the source has no {config.manifest}, which `source.layout.manifest` names"
        raise SourceError(msg)
    try:
        text = io.StringIO(read(config.manifest).decode("utf-8-sig"))
        rows = csv.DictReader(text, restkey=_BEYOND, restval="", strict=True)
        needed = {"path", *config.columns.values()}
        if missing := needed - set(rows.fieldnames or ()):
            msg = f"{config.manifest}: no column {sorted(missing)}; it has {rows.fieldnames}"
            raise SourceError(msg)
        return _by_path(config, rows, as_listed(keys))
    except UnicodeDecodeError as error:
        msg = f"{config.manifest}: not UTF-8 text (byte {error.start}); save it as UTF-8"
        raise SourceError(msg) from error
    except csv.Error as error:
        msg = f"{config.manifest}: not a CSV: {error}"
        raise SourceError(msg) from error


def as_listed(keys: set[str]) -> Callable[[str], str]:
    """How the source spells a path: an accent may be part of its letter or a character of its own.

    Volumes and copies turn one spelling (NFC, NFD) into the other. A path that is no key stays.
    """
    composed = {unicodedata.normalize("NFC", key): key for key in keys if not key.isascii()}
    return lambda path: (
        path if path in keys else composed.get(unicodedata.normalize("NFC", path), path)
    )


def _by_path(
    config: LayoutConfig, rows: Iterable[dict[str, str]], spelled: Callable[[str], str]
) -> tuple[_Manifest, set[str]]:
    found: _Manifest = {}
    disputed = set()
    mask = config.columns.get("mask")
    for row in rows:
        if any(row.get(_BEYOND, ())):
            # Else what follows the comma would be another column's value, such as the label.
            msg = (
                f"{config.manifest}: the row of {row['path']!r} has more values than there are "
                "columns; put a value that has a comma into quotes"
            )
            raise SourceError(msg)
        if mask:
            row[mask] = spelled(row[mask])
        key = spelled(row["path"])
        first = found.setdefault(key, row)
        if any(first[one] != row[one] for one in config.columns.values()):
            disputed.add(key)
    if disputed:
        log.warning(
            "%s: %d paths have rows that differ, and their images are held: %s",
            config.manifest,
            len(disputed),
            some_of(disputed),
        )
    return found, disputed


def _class_folders(
    config: LayoutConfig, key: str, masks: _Masks, manifest: _Manifest
) -> Facts | None:
    if config.days is None:
        folder, _, rest = key.partition("/")
        return _labelled(config, Facts(key), folder) if rest else None
    inside = _inside_day(config.days, key)
    # What lies in a day's folder itself has no label.
    return None if inside is None else _labelled(config, Facts(key), inside.rpartition("/")[0])


def _inside_day(days: str, key: str) -> str | None:
    """What follows the folder of a day in a key; None where the key has no such folder."""
    depth = days.count("/")
    folders = key.split("/")
    try:
        datetime.strptime("/".join(folders[:depth]) + "/", days)
    except ValueError:
        return None
    return "/".join(folders[depth:])


def _masks(config: LayoutConfig, key: str, masks: _Masks, manifest: _Manifest) -> Facts | None:
    if not key.startswith(f"{config.images}/"):
        return None
    inside = PurePosixPath(key).relative_to(config.images)
    stem = PurePosixPath(config.masks) / inside.parent / f"{inside.stem}{config.mask_suffix}"
    return Facts(key, mask_key=masks.get(_composed(stem), ""))


def _mvtec(config: LayoutConfig, key: str, masks: _Masks, manifest: _Manifest) -> Facts | None:
    parts = PurePosixPath(key).parts
    if len(parts) != 3 or parts[0] not in ("train", "test"):
        return None
    facts = _labelled(config, Facts(key), parts[1])
    stem = PurePosixPath("ground_truth") / parts[1] / f"{PurePosixPath(key).stem}_mask"
    return replace(facts, mask_key=masks.get(_composed(stem), ""))


def _manifest_only(
    config: LayoutConfig, key: str, masks: _Masks, manifest: _Manifest
) -> Facts | None:
    if key not in manifest:
        return None
    mask = manifest[key].get(config.columns.get("mask", ""), "")
    return Facts(key, mask_key=mask)


def _masks_by_name(config: LayoutConfig, keys: set[str]) -> _Masks:
    folder = _truth(config)
    if folder is None:
        return {}
    # Beside the images, pictures of the same name are images themselves.
    is_beside = folder == config.images and not config.mask_suffix
    suffixes = _MASKS[:1] if is_beside else _MASKS
    ranked = []
    for key in keys:
        path = PurePosixPath(key)
        if path.suffix.lower() in suffixes and path.is_relative_to(folder):
            name = _composed(path.with_suffix(""))
            ranked.append((suffixes.index(path.suffix.lower()), key, name))
    return {name: key for _, key, name in sorted(ranked, reverse=True)}


def _composed(path: PurePosixPath) -> str:
    # Volumes and copies turn one spelling of an accent (NFC, NFD) into the other.
    return unicodedata.normalize("NFC", str(path))


def kind_of(name: str) -> str:
    """The defect type that a name means, whoever wrote it: case and spaces around make no other."""
    return name.strip().lower()


def _labelled(config: LayoutConfig, facts: Facts, name: str) -> Facts:
    kind = kind_of(name)
    if not kind:
        return facts
    # Whatever its case: `OK` taken for a defect type would be learned as good.
    if kind in map(kind_of, config.ok):
        return replace(facts, label="ok", defect_type="")
    if kind == "ok":
        msg = f"{facts.key}: {name!r} is none of `source.layout.ok` {list(config.ok)}; add it there"
        raise SourceError(msg)
    return replace(facts, label="defect", defect_type=kind)


def _complete(config: LayoutConfig, facts: Facts, row: dict[str, str], zone: tzinfo) -> Facts:
    """Add what the pattern and then the manifest say; a group falls back to the part, the stem."""
    found: dict[str, str] = {}
    if config.pattern and (match := re.search(config.pattern, facts.key)):
        found = {name: text for name, text in match.groupdict().items() if text}
    found |= {field: row[column] for field, column in config.columns.items() if row.get(column)}
    if "label" in found:
        facts = _labelled(config, facts, found["label"])
    part = found.get("part", "") or PurePosixPath(facts.key).stem
    said = found.get("captured_at", "")
    captured_at = _time(said, zone)
    if said and captured_at is None:
        log.warning("%s: %r is no capture time, such as 20260105T081500", facts.key, said)
    return replace(
        facts,
        part=part,
        lot=found.get("lot", ""),
        group=found.get("group", "") or part,
        camera=found.get("camera", ""),
        captured_at=captured_at,
        problem="bad_time" if said and captured_at is None else "",
    )


def _time(text: str, zone: tzinfo) -> datetime | None:
    """UTC of an ISO 8601 text; None where it is none, or of a camera that lost its clock.

    A text without a zone is one of `zone`; of an hour that clocks show twice, the first.
    """
    try:
        time = datetime.fromisoformat(text)
        time = (time.replace(tzinfo=zone) if time.tzinfo is None else time).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return time if time.year >= _FIRST_YEAR else None
