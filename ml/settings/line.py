"""One inspection line: the typed sections of a `lines/<line>.toml`; `load.py` reads the file."""

import re
from datetime import date, datetime
from itertools import pairwise
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from ml.settings.schedule import Schedule

LINE_NAME = r"^[a-z][a-z0-9_]{0,40}$"

_Count = Annotated[int, Field(ge=1)]


def _falling_from_one(scales: tuple[float, ...]) -> tuple[float, ...]:
    falling = all(small < large for large, small in pairwise(scales))
    if scales[:1] != (1,) or not falling:
        msg = "expected parts of the input size from 1 downwards, such as [1, 0.7, 0.5]"
        raise ValueError(msg)
    return scales


_Scales = Annotated[
    tuple[Annotated[float, Field(ge=0.25, le=1)], ...],
    AfterValidator(_falling_from_one),
    Field(description="parts of the input size that the image is seen at; maps are averaged"),
]
Size = Annotated[tuple[_Count, _Count], Field(description="height, width in pixels")]
ModelName = Literal["classifier", "segmenter", "anomaly"]
# How a network evens out exposure before it looks (`ml/models/light.py`).
Light = Literal["as_is", "gain", "even", "local"]

# What a pattern or a manifest can say of an image.
_FACTS = {"label", "group", "part", "lot", "camera", "captured_at"}
_MOST_HELD_OUT = 0.9


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LayoutConfig(_Section):
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


class SpreadConfig(_Section):
    """For image sets without capture times: deal whole groups over days, so nights have work.

    The days are made up, and every page that shows them says so.
    """

    days: int = Field(ge=1, le=366)
    start: date


class SourceConfig(_Section):
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


class ChecksConfig(_Section):
    """What an image must be to be accepted; all else is quarantined with the reason."""

    min_side: int = Field(16, ge=2)
    max_pixels: int = Field(100_000_000, ge=1)
    sizes: tuple[Size, ...] = ()
    brightness: tuple[float, float] = (2.0, 253.0)
    min_contrast: float = Field(1.0, ge=0)

    @field_validator("brightness")
    @classmethod
    def _low_to_high(cls, brightness: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= brightness[0] < brightness[1] <= 255:
            msg = "expected the lowest and the highest mean grey level, within 0 to 255"
            raise ValueError(msg)
        return brightness


class SplitConfig(_Section):
    """Shares of groups; what is left is for training."""

    validation: float = Field(0.2, gt=0, lt=0.5)
    test: float = Field(0.25, gt=0, lt=0.6)
    seed: int = 20261121

    @model_validator(mode="after")
    def _some_training(self) -> "SplitConfig":
        held_out = self.validation + self.test
        if held_out > _MOST_HELD_OUT:
            msg = (
                f"`validation` and `test` are {held_out:g} together; expected at most "
                f"{_MOST_HELD_OUT}, so that something is left for training"
            )
            raise ValueError(msg)
        return self


class BackboneConfig(_Section):
    """A timm network. `weights` is `hub`, `none` or a safetensors file beside the line file."""

    name: str = "resnet18"
    weights: str = "hub"
    pad_same: bool = False
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    freeze_batch_norm: bool = False


class ClassifierConfig(_Section):
    """Fine-tuning of the backbone into ok and the defect types."""

    size: Size = (224, 224)
    epochs: int = Field(8, ge=1, description="at most; the best one on validation is kept")
    patience: int | None = Field(
        None, ge=1, description="stop after so many epochs that are no better on validation"
    )
    batch: int = Field(16, ge=2)
    learning_rate: float = Field(3e-4, gt=0)
    frozen_stride: int = Field(
        0, ge=0, description="layers up to this stride keep their pretrained weights"
    )
    strides: tuple[_Count, ...] = Field(
        (), description="pool mean, deviation and highest places of the maps at these strides"
    )
    light: Light = "as_is"
    conditions: Literal["steady", "varying"] = Field(
        "steady", description='"varying" trains on other contrast, slopes of light and blur too'
    )
    mirror: bool = Field(
        False, description="a mirror image of a part is such a part: training mirrors them"
    )
    symmetric: bool = Field(
        False, description="parts lie in any direction: training turns and mirrors them"
    )
    turns: Literal[1, 2, 4] = Field(
        1, description="scores are the mean over so many quarter turns; needs `symmetric`"
    )
    compile: bool = Field(
        False, description="translate the training step first, by `torch.compile`; for long runs"
    )

    @model_validator(mode="after")
    def _turns_fit(self) -> "ClassifierConfig":
        if self.symmetric and self.size[0] != self.size[1]:
            msg = f"`symmetric` turns images by quarters: `size` must be square, not {self.size}"
            raise ValueError(msg)
        if self.turns > 1 and not self.symmetric:
            msg = "`turns` takes the mean over turned images, which is for `symmetric` parts"
            raise ValueError(msg)
        return self


class SegmenterConfig(_Section):
    """A U-Net whose encoder is the backbone, or a small network on the frozen backbone's patches.

    `patches` learns in minutes what tells a patch of a labelled defect from good ones, and is made
    for lines where only some dozens of defects are labelled; the map is as fine as the first of
    `strides`. Images are resized to `size`; with `tile` they are cut into overlapping tiles of that
    size instead, at their own resolution.
    """

    method: Literal["unet", "patches"] = "unet"
    size: Size = (224, 224)
    tile: Size | None = None
    strides: tuple[_Count, ...] = Field((4, 8, 16), min_length=1, description="of `patches`")
    scales: _Scales = (1.0,)
    steps: int = Field(1000, ge=1, description="training steps of `patches`")
    epochs: int = Field(8, ge=1)
    batch: int = Field(8, ge=2)
    learning_rate: float = Field(5e-4, gt=0)
    decoder: int = Field(64, ge=32, description="channels of the deepest decoder block")
    mirror: bool = Field(
        False, description="of `unet`: a mirror image of a part is such a part, for training"
    )
    light: Light = "as_is"
    max_false_regions: float = Field(
        0.01, ge=0, le=1, description="share of good validation images that may have a region"
    )
    weak_labels: bool = Field(
        False, description="defects without a mask get one by thresholding, for training only"
    )

    @model_validator(mode="after")
    def _scales_fit(self) -> "SegmenterConfig":
        if len(self.scales) > 1 and self.method != "patches":
            msg = '`scales` are for the method "patches"'
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _weak_is_whole(self) -> "SegmenterConfig":
        if self.weak_labels and self.tile:
            msg = "`weak_labels` compares whole images; leave `tile` out"
            raise ValueError(msg)
        return self

    @property
    def input_size(self) -> Size:
        """Height and width of what the network sees at once."""
        return self.tile or self.size


class AnomalyConfig(_Section):
    """An anomaly model on patch features of the frozen backbone.

    `patchcore` (Roth et al., CVPR 2022, arXiv:2106.08265) keeps a bank of good patches.
    `discriminator` (after SimpleNet, Liu et al., CVPR 2023, arXiv:2303.15725) learns to tell good
    patches from good patches with noise, and from the line's labelled defects where it has masks.
    `student_teacher` (STFPM, Wang et al., BMVC 2021, arXiv:2103.04257) trains a second network to
    repeat the backbone's features of good images; `strides` are then those of the paper, 4, 8, 16.
    `backbone` is one of its own, such as DINOv2; without it the line's.
    """

    method: Literal["patchcore", "discriminator", "student_teacher"] = "patchcore"
    size: Size = (224, 224)
    strides: tuple[_Count, ...] = Field((8, 16), min_length=1)
    scales: _Scales = (1.0,)
    light: Light = "as_is"
    top_share: float = Field(0.01, gt=0, le=1, description="patches that make the image score")
    projection: int = Field(128, ge=8, description="width of a patch feature, at most")
    bank: int = Field(2000, ge=16, description="patches that PatchCore keeps")
    steps: int = Field(600, ge=1, description="training steps of the discriminator")
    labelled: bool = Field(True, description="the discriminator sees labelled defects")
    backbone: BackboneConfig | None = None
    epochs: int = Field(20, ge=1, description="training epochs of the student")
    batch: int = Field(8, ge=2, description="images in a training step of the student")
    learning_rate: float = Field(0.4, gt=0, description="of the student")

    @property
    def input_size(self) -> Size:
        """Height and width of what the network sees at once."""
        return self.size

    @model_validator(mode="after")
    def _scales_fit(self) -> "AnomalyConfig":
        if len(self.scales) > 1 and self.method != "discriminator":
            msg = '`scales` are for the method "discriminator"'
            raise ValueError(msg)
        return self

    @model_validator(mode="before")
    @classmethod
    def _strides_of_the_paper(cls, section: Any) -> Any:
        if isinstance(section, dict) and section.get("method") == "student_teacher":
            return {"strides": (4, 8, 16), **section}
        return section


class ExportConfig(_Section):
    """How the fitted models are shipped.

    With `int8 = "auto"` each is also quantised, and shipped so where that is smaller, within 0.2
    points on validation, and faster on the machine that trains it.
    """

    int8: Literal["never", "auto"] = "never"


class CostsConfig(_Section):
    """What each outcome costs the factory, in any one unit; only ratios matter.

    With `max_escape_ppm` the line passes parts up to the highest threshold that keeps the escapes,
    of a million independent defective groups, at or under it with 95 % confidence; `escape` then
    serves the comparison of bundles only. `prevalence` is the share of the line's parts that are
    defective; without it, that of the validation images is taken for it.
    """

    escape: float = Field(100.0, gt=0)
    overkill: float = Field(10.0, gt=0)
    review: float = Field(1.0, gt=0)
    max_escape_ppm: float | None = Field(None, gt=0, le=500_000)
    prevalence: float | None = Field(None, gt=0, lt=1)

    @model_validator(mode="after")
    def _review_pays(self) -> "CostsConfig":
        if self.review >= min(self.escape, self.overkill):
            msg = "`review` must cost less than `escape` and `overkill`, else nobody would review"
            raise ValueError(msg)
        return self


class GateConfig(_Section):
    """What a challenger must show. Rates are on held-out test groups."""

    min_groups: int = Field(
        5, ge=1, description="of either kind, in validation and in test; else a person promotes"
    )
    min_auroc: float = Field(0.8, ge=0, le=1)
    max_auroc_drop: float = Field(0.01, ge=0, le=1)
    max_parity: float = Field(1e-3, gt=0, description="largest difference of a raw score")
    max_latency_ms: float | None = Field(None, gt=0, description="for one image, all models")
    max_slowdown: float = Field(3.0, gt=1, description="times the champion's latency")
    approval: bool = Field(False, description="a person approves the promotion in Airflow")


class NightConfig(_Section):
    """The nightly inspection."""

    schedule: Schedule | None = None
    deadline_minutes: int | None = Field(
        None, ge=1, description="after its run was queued; then an alert says what is missing"
    )
    shard_images: int = Field(500, ge=1, description="most images of a shard")
    shard_megabytes: int = Field(1000, ge=1, description="most bytes of a shard's images, in MB")
    batch: int = Field(16, ge=1)
    shadow: str = Field(
        "", description="a bundle, or `waiting`, that scores the same images; no verdict is its"
    )


class MonitorConfig(_Section):
    """Drift checks. `alpha` is the false-alarm rate of one night over all its tests.

    Below 0.001 the permutations that the embedding test needs would take minutes.
    """

    alpha: float = Field(0.01, ge=0.001, lt=0.5)
    min_images: int = Field(30, ge=5, description="independent ones: groups of a night")
    retrain: bool = True


class LineConfig(_Section):
    """One inspection line, as its TOML file says."""

    name: str = Field(pattern=LINE_NAME)
    title: str
    description: str = ""
    models: tuple[ModelName, ...] = ("classifier", "segmenter", "anomaly")
    ingest_schedule: Schedule | None = None
    train_schedule: Schedule | None = None
    review_schedule: Schedule | None = None
    seed: int = 20261121
    source: SourceConfig
    checks: ChecksConfig = ChecksConfig()
    split: SplitConfig = SplitConfig()
    backbone: BackboneConfig = BackboneConfig()
    classifier: ClassifierConfig = ClassifierConfig()
    segmenter: SegmenterConfig = SegmenterConfig()
    anomaly: AnomalyConfig = AnomalyConfig()
    export: ExportConfig = ExportConfig()
    costs: CostsConfig = CostsConfig()
    gate: GateConfig = GateConfig()
    night: NightConfig = NightConfig()
    monitor: MonitorConfig = MonitorConfig()

    @model_validator(mode="after")
    def _frozen_is_trained(self) -> "LineConfig":
        if self.classifier.frozen_stride and self.backbone.weights == "none":
            msg = (
                "`classifier.frozen_stride` keeps pretrained layers as they are, but "
                '`backbone.weights` is "none"'
            )
            raise ValueError(msg)
        return self

    def backbone_of(self, model: ModelName) -> BackboneConfig:
        """The backbone of a model: the anomaly model may have one of its own."""
        own = self.anomaly.backbone if model == "anomaly" else None
        return own or self.backbone

    @field_validator("models")
    @classmethod
    def _some_models(cls, models: tuple[ModelName, ...]) -> tuple[ModelName, ...]:
        if not models or len(set(models)) != len(models):
            msg = "name each model of the line once, at least one"
            raise ValueError(msg)
        return models
