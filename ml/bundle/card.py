"""`card.json`: everything that a reader of a bundle must know to reproduce a verdict."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Platt(_Section):
    """log-odds = slope * score + intercept, fitted on validation (Platt, 1999)."""

    slope: float
    intercept: float


class MaskRule(_Section):
    """Which pixels of a segmenter's map are defect: Canny's hysteresis (PAMI 1986).

    A region is made of connected pixels (8 neighbours) above `extent`, and counts when one of them
    is above `seed`, or when it is larger than `area`: a wide defect need not be certain anywhere.
    """

    extent: float = Field(0.5, gt=0, lt=1, description="probability")
    seed: float = Field(0.5, gt=0, lt=1, description="probability")
    area: float = Field(1.0, gt=0, le=1, description="share of the image; 1 is never")


class Int8Card(_Section):
    """What came of quantising a model to int8; where it was not shipped, the reason.

    `fp32` and `int8` are figures on validation. Without them nothing could be measured.
    """

    shipped: bool
    reason: str
    calibration: str = Field("", description="how the ranges of activations were chosen")
    calibration_images: int = Field(0, description="training images that they were chosen on")
    layers: int = Field(0, description="convolutions")
    fp32_layers: int = Field(0, description="of these, left in fp32")
    size_ratio: float | None = Field(None, description="bytes of the fp32 file to the int8 file")
    loss_points: float | None = Field(
        None, description="AUROC or Dice lost, of a hundred, or that int8's noise should cost"
    )
    fp32: dict[str, float | None] = Field(default_factory=dict)
    int8: dict[str, float | None] = Field(default_factory=dict)
    score_difference: float | None = Field(None, description="largest |fp32 - int8| score seen")
    batch_difference: float | None = Field(None, description="largest |batch - single| score seen")


class BackboneCard(_Section):
    name: str
    weights: Literal["hub", "file", "none"]
    weights_sha256: str | None


class ModelCard(_Section):
    """One ONNX model of the bundle."""

    size: tuple[int, int] = Field(description="height, width of the input")
    tiled: bool = Field(
        False, description="inputs are overlapping tiles, at the image's resolution"
    )
    calibration: Platt
    fusion_weight: float = Field(ge=0, description="weight of its calibrated log-odds")
    parity: float = Field(ge=0, description="largest |torch - fp32 ONNX| score difference seen")
    parity_images: int
    int8: Int8Card | None = Field(None, description="None where the line does not ask for it")
    method: str = Field("", description="which kind of model, where there is a choice")
    mask_rule: MaskRule | None = Field(
        None, description="of a segmenter: chosen on validation; None on old cards is 0.5"
    )
    backbone: BackboneCard | None = Field(None, description="where it is not the card's")
    facts: dict[str, int] = Field(
        default_factory=dict,
        description="how many images, labelled defects and patches it saw, in how many threads",
    )

    @property
    def weak(self) -> bool:
        """Whether it learned where defects lie from weak masks."""
        return self.facts.get("unmasked_defects", 0) > 0


class Metric(_Section):
    """A figure with a 95 % group-bootstrap interval; on test groups, if nothing else is said."""

    value: float | None
    low: float | None
    high: float | None
    n: int = Field(description="groups behind it")


class EscapeCeiling(_Section):
    """The ceiling on escapes that a line asked for, and the evidence for it on validation."""

    max_escape_ppm: float
    confidence: float = Field(gt=0, lt=1)
    groups: int = Field(description="independent groups with a defect")
    escapes: int = Field(
        description="groups of them with a defective image that passes, by a fit without them"
    )
    bound_ppm: float = Field(description="exact upper confidence bound of their escape rate")


class Thresholds(_Section):
    """p_defect up to `pass_below` passes, from `fail_above` fails, between is reviewed.

    They follow from the costs, or `pass_below` from a ceiling. `rates` are escape, overkill and
    review rate of the images of validation, where the thresholds were chosen; empty on old cards.
    `prevalence` is the share of defective parts that p_defect and the metrics take for granted;
    None: that of the images themselves.
    """

    pass_below: float = Field(ge=0, le=1)
    fail_above: float = Field(ge=0, le=1)
    escape_cost: float
    overkill_cost: float
    review_cost: float
    prevalence: float | None = None
    ceiling: EscapeCeiling | None = None
    rates: dict[str, Metric] = Field(default_factory=dict)


class Card(_Section):
    """The card of one bundle. It holds no wall-clock time: equal inputs give equal bytes."""

    schema_version: int = SCHEMA_VERSION
    line: str
    classes: tuple[str, ...] = Field(description="class 0 is ok; then the defect types")
    models: dict[str, ModelCard]
    fusion_intercept: float
    thresholds: Thresholds
    backbone: BackboneCard
    dataset: str
    dataset_counts: dict[str, int]
    code: str = Field(description="git commit, or `unknown`")
    seed: int
    metrics: dict[str, Metric]
    mm_per_pixel: float | None = Field(None, description="scale of the images as they come")
    bits: int | None = Field(None, description="of 16-bit images, as they were read in training")
    warnings: tuple[str, ...] = ()
