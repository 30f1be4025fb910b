"""Where a line's images come from, and what their names mean."""

import re
from datetime import date, datetime
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from ml.settings.section import Section

# What a pattern or a manifest can say of an image.
_FACTS = {"label", "group", "part", "lot", "camera", "captured_at"}


class LayoutConfig(Section):
    """How the names in the source become labels, masks, groups and serials.

    `pattern` is a regular expression on the object's key; its named groups `part`, `lot`, `group`,
    `camera`, `captured_at` and `label` fill these fields. `manifest` is a CSV in the source with a
    `path` column; `columns` says which of its columns give which field.
    """

    kind: Literal["class_folders", "masks", "mvtec", "manifest"]
    ok: tuple[str, ...] = ("ok", "good")
    images: str = "images"
    masks: str = "masks"
    mask_threshold: int = Field(127, ge=0, le=254, description="a mask pixel above it is defect")
    mask_suffix: str = ""
    pattern: str | None = None
    manifest: str | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    days: str | None = Field(
        None, description="folder of a day, before all else, such as `%Y/%m/%d/`"
    )

    @field_validator("days")
    @classmethod
    def _names_each_day(cls, days: str | None) -> str | None:
        two = {date(2026, 1, 23), date(2026, 1, 24)}
        if days is not None and (
            not days.endswith("/")
            or days.startswith("/")
            or {datetime.strptime(day.strftime(days), days).date() for day in two} != two
        ):
            msg = "expected a folder with year, month and day, such as `%Y/%m/%d/`"
            raise ValueError(msg)
        return days

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        if pattern is None:
            return None
        try:
            groups = set(re.compile(pattern).groupindex)
        except re.error as error:
            msg = f"not a regular expression: {error}"
            raise ValueError(msg) from error
        if not groups or groups - _FACTS:
            msg = f"named groups {sorted(groups)}; expected some of {sorted(_FACTS)}"
            raise ValueError(msg)
        return pattern

    @field_validator("columns")
    @classmethod
    def _known_fields(cls, columns: dict[str, str]) -> dict[str, str]:
        known = _FACTS | {"mask"}
        if unknown := set(columns) - known:
            msg = f"unknown fields {sorted(unknown)}; expected some of {sorted(known)}"
            raise ValueError(msg)
        return columns

    @model_validator(mode="after")
    def _manifest_named(self) -> "LayoutConfig":
        if (self.kind == "manifest" or self.columns) and not self.manifest:
            msg = "`manifest` must name the CSV file when the layout or `columns` reads one"
            raise ValueError(msg)
        if "mask" in self.columns and self.kind != "manifest":
            # Ignored, defects with a mask would train and be measured as ones without.
            msg = f'`columns.mask` needs `kind = "manifest"`; `{self.kind}` reads no mask there'
            raise ValueError(msg)
        # Masks and manifests lie outside the day's folder: they would not be listed with it.
        if self.days and (self.kind != "class_folders" or self.manifest):
            msg = '`days` needs `kind = "class_folders"` without a manifest'
            raise ValueError(msg)
        return self

    @property
    def has_masks(self) -> bool:
        """Whether an image of this layout can have a mask."""
        return self.kind in ("masks", "mvtec") or (
            self.kind == "manifest" and "mask" in self.columns
        )


class SpreadConfig(Section):
    """For image sets without capture times: deal whole groups over days, so nights have work.

    The days are made up, and every page that shows them says so.
    """

    days: int = Field(ge=1, le=366)
    start: date


class SourceConfig(Section):
    """Where new images appear: a folder or `s3://bucket/prefix`."""

    uri: str
    layout: LayoutConfig
    timezone: str = Field(
        "UTC", description="IANA name; of capture times that do not name their own zone"
    )
    full_listing_hours: float = Field(
        24, gt=0, description="with `layout.days`, how often every object is listed"
    )
    queue: str | None = Field(
        None,
        pattern=r"^https?://[^@]+$",
        description="address of an SQS queue with the bucket's events: a message starts an ingest",
    )
    spread: SpreadConfig | None = None
    mm_per_pixel: float | None = Field(None, gt=0, description="scale of the images as they come")
    bits: int | None = Field(
        None, ge=9, le=16, description="of the camera, in 16-bit files; none: the file's full range"
    )

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, timezone: str) -> str:
        try:
            ZoneInfo(timezone)
        # OSError: the name of a folder of zones, such as `America`.
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            msg = "expected an IANA time zone, such as `America/Los_Angeles`"
            raise ValueError(msg) from error
        return timezone

    @model_validator(mode="after")
    def _days_are_real(self) -> "SourceConfig":
        if self.spread and self.layout.days:
            msg = "`spread` makes days up; leave it out where `layout.days` has them"
            raise ValueError(msg)
        return self
