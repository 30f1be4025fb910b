"""A dataset version as training and evaluation read it, and the pixels behind it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from ml import files
from ml.errors import DataError, ImageError
from ml.imaging import Pixels, decode_grey, decode_rgb
from ml.settings import Home

# A resized mask pixel is defect when this share of what it covers is: small defects stay.
_MASK_SHARE = 0.3


@dataclass(frozen=True)
class Sample:
    """One labelled image. `split` is `train`, `validation` or `test`; `mask` a SHA-256 or empty.

    `bits` is the line's `source.bits` when the dataset was made: how its pixels are decoded.
    """

    sha256: str
    split: str
    group: str
    label: str
    defect_type: str
    mask: str
    part: str
    lot: str
    camera: str
    captured_at: datetime
    day: str
    bits: int | None = None

    @property
    def is_defect(self) -> bool:
        return self.label == "defect"


@dataclass(frozen=True)
class Dataset:
    """An immutable dataset version: its name, its samples, the counts of its splits."""

    name: str
    samples: tuple[Sample, ...]
    counts: dict[str, int]

    def split(self, name: str) -> tuple[Sample, ...]:
        """The samples of one split, in a fixed order."""
        return tuple(sample for sample in self.samples if sample.split == name)


def load_dataset(home: Home, line: str, dataset: str) -> Dataset:
    """Read a dataset version; raises DataError when there is none of that name."""
    path = home.dataset(line, dataset)
    if not path.exists():
        msg = f"{path}: no such dataset version; `loupe snapshot --line {line}` makes one"
        raise DataError(msg)
    description = files.read_json(path.with_suffix(".json"))
    bits = description.get("bits")
    samples = tuple(Sample(**row, bits=bits) for row in pq.read_table(path).to_pylist())
    return Dataset(dataset, samples, description["counts"])


def read_rgb(home: Home, sha256: str, bits: int | None = None) -> Pixels:
    """An accepted image as RGB `[H, W, 3]`, uint8; of 16 bits the lowest `bits` count.

    Raises ImageError naming the file when it cannot be decoded so.
    """
    path = home.object(sha256)
    try:
        return decode_rgb(path.read_bytes(), bits=bits)
    except ImageError as error:
        raise ImageError(error.reason, f"{path}: {error}") from error


def read_mask(home: Home, sha256: str) -> npt.NDArray[np.bool_]:
    """A mask `[H, W]`: True where there is a defect."""
    return decode_grey(home.object(sha256).read_bytes()) > 127


def resize_mask(mask: npt.NDArray[np.bool_], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """A mask `[H, W]` at `size` (height, width): the truth that training and evaluation share.

    A defect too thin for its share keeps the pixels that it covers most, so none vanishes.
    """
    share: Any = cv2.resize(mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray((share > 0) & (share >= min(_MASK_SHARE, share.max())))
