"""The three models of a line: what they see, how they learn and how they are shipped."""

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from ml.settings.section import Count, Section, Size

ModelName = Literal["classifier", "segmenter", "anomaly"]
# How a network evens out exposure before it looks (`ml/models/light.py`).
Light = Literal["as_is", "gain", "even", "local"]


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


class BackboneConfig(Section):
    """A timm network. `weights` is `hub`, `none` or a safetensors file beside the line file."""

    name: str = "resnet18"
    weights: str = "hub"
    pad_same: bool = False
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    freeze_batch_norm: bool = False


class ClassifierConfig(Section):
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
    strides: tuple[Count, ...] = Field(
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


class SegmenterConfig(Section):
    """A U-Net whose encoder is the backbone, or a small network on the frozen backbone's patches.

    `patches` learns in minutes what tells a patch of a labelled defect from good ones, and is made
    for lines where only some dozens of defects are labelled; the map is as fine as the first of
    `strides`. Images are resized to `size`; with `tile` they are cut into overlapping tiles of that
    size instead, at their own resolution.
    """

    method: Literal["unet", "patches"] = "unet"
    size: Size = (224, 224)
    tile: Size | None = None
    strides: tuple[Count, ...] = Field((4, 8, 16), min_length=1, description="of `patches`")
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


class AnomalyConfig(Section):
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
    strides: tuple[Count, ...] = Field((8, 16), min_length=1)
    scales: _Scales = (1.0,)
    light: Light = "as_is"
    top_share: float = Field(0.01, gt=0, le=1, description="patches that make the image score")
    projection: int = Field(128, ge=8, description="width of a patch feature, at most")
    bank: int = Field(2000, ge=16, description="patches that PatchCore keeps")
    steps: int = Field(600, ge=1, description="training steps of the discriminator")
    labelled: bool = Field(True, description="the discriminator sees labelled defects")
    backbone: BackboneConfig | None = None
    epochs: int = Field(100, ge=1, description="training epochs of the student, as in the paper")
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


class ExportConfig(Section):
    """How the fitted models are shipped.

    With `int8 = "auto"` each is also quantised, and shipped so where that is smaller, within 0.2
    points on validation, and faster on the machine that trains it.
    """

    int8: Literal["never", "auto"] = "never"
