"""One inspection line: the typed sections of a `lines/<line>.toml`; `load.py` reads the file."""

from pydantic import Field, field_validator, model_validator

from ml.settings.models import (
    AnomalyConfig,
    BackboneConfig,
    ClassifierConfig,
    ExportConfig,
    ModelName,
    SegmenterConfig,
)
from ml.settings.schedule import Schedule
from ml.settings.section import Section, Size
from ml.settings.source import SourceConfig

LINE_NAME = r"^[a-z][a-z0-9_]{0,40}$"

_MOST_HELD_OUT = 0.9


class ChecksConfig(Section):
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


class SplitConfig(Section):
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


class CostsConfig(Section):
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


class GateConfig(Section):
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


class NightConfig(Section):
    """The nightly inspection."""

    schedule: Schedule | None = None
    deadline_minutes: int | None = Field(
        None, ge=1, description="after its run was queued; then an alert says what is missing"
    )
    shard_images: int = Field(500, ge=1, description="most images of a shard")
    shard_megabytes: int = Field(1000, ge=1, description="most bytes of a shard's images, in MB")
    batch: int = Field(8, ge=1, description="images at once; more leave the caches of a CPU")
    shadow: str = Field(
        "", description="a bundle, or `waiting`, that scores the same images; no verdict is its"
    )


class MonitorConfig(Section):
    """Drift checks. `alpha` is the false-alarm rate of one night over all its tests.

    Below 0.001 the permutations that the embedding test needs would take minutes.
    """

    alpha: float = Field(0.01, ge=0.001, lt=0.5)
    min_images: int = Field(30, ge=5, description="independent ones: groups of a night")
    retrain: bool = True


class LineConfig(Section):
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
