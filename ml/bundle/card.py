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


class BackboneCard(_Section):
    name: str
    weights: Literal["hub", "file", "none"]
    weights_sha256: str | None


class ModelCard(_Section):
    """One ONNX model of the bundle."""

    size: tuple[int, int] = Field(description="height, width of the input")
    calibration: Platt
    fusion_weight: float = Field(ge=0, description="weight of its calibrated log-odds")
    parity: float = Field(ge=0, description="largest |torch - ONNX| score difference seen")
    parity_images: int
    method: str = Field("", description="which kind of model, where there is a choice")
    backbone: BackboneCard | None = Field(None, description="where it is not the card's")
    facts: dict[str, int] = Field(
        default_factory=dict, description="how many images, labelled defects and patches it saw"
    )


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
    """

    pass_below: float = Field(ge=0, le=1)
    fail_above: float = Field(ge=0, le=1)
    escape_cost: float
    overkill_cost: float
    review_cost: float
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
    warnings: tuple[str, ...] = ()
