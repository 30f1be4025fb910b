"""A dataset version as training and evaluation read it, and the pixels behind it."""

from dataclasses import dataclass
from datetime import datetime

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from ml import files
from ml.errors import DataError
from ml.imaging import Pixels, decode_rgb
from ml.settings import Home


@dataclass(frozen=True)
class Sample:
    """One labelled image. `split` is `train`, `validation` or `test`; `mask` a SHA-256 or empty."""

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
    samples = tuple(Sample(**row) for row in pq.read_table(path).to_pylist())
    return Dataset(dataset, samples, files.read_json(path.with_suffix(".json"))["counts"])


def read_rgb(home: Home, sha256: str) -> Pixels:
    """An accepted image as RGB `[H, W, 3]`, uint8."""
    return decode_rgb(home.object(sha256).read_bytes())


def read_mask(home: Home, sha256: str) -> npt.NDArray[np.bool_]:
    """A mask `[H, W]`: True where there is a defect."""
    content = np.frombuffer(home.object(sha256).read_bytes(), np.uint8)
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_GRAYSCALE)) > 127
