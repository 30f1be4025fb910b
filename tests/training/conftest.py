"""A tiny line with real images, masks and a dataset version."""

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml.settings import Env, Home, LineConfig

MakeDataset = Callable[..., str]
SIDE = 40


@pytest.fixture
def env(tmp_path: Path, empty_mlflow: Path) -> Env:
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(empty_mlflow, home)
    return Env(home, tmp_path, "sqlite", f"sqlite:///{home / 'mlflow.db'}", threads=1)


@pytest.fixture
def home(env: Env) -> Home:
    return Home(env.home)


@pytest.fixture
def line() -> LineConfig:
    document = {
        "name": "tiny",
        "title": "Tiny plates",
        "source": {"uri": "unused", "layout": {"kind": "masks"}},
        "backbone": {"name": "test_resnet", "weights": "none"},
        "classifier": {"size": (SIDE, SIDE), "epochs": 3, "batch": 4},
        "segmenter": {"size": (SIDE, SIDE), "epochs": 3, "batch": 4, "decoder": 32},
        "anomaly": {"size": (SIDE, SIDE), "strides": (4, 8), "bank": 20, "projection": 8},
    }
    return LineConfig.model_validate(document)


@pytest.fixture
def make_dataset(home: Home) -> MakeDataset:
    """`make_dataset(name, train=(good, defects), validation=(good, defects))`."""

    def make(
        name: str = "d1",
        train: tuple[int, int] = (8, 6),
        validation: tuple[int, int] = (3, 3),
        masks: bool = True,
    ) -> str:
        rows = []
        for split, (good, defects) in {"train": train, "validation": validation}.items():
            for number in range(good + defects):
                rows.append(_sample(home, split, number, number >= good, masks))
        path = home.dataset("tiny", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), path)
        path.with_suffix(".json").write_text(json.dumps({"counts": {}}))
        return name

    return make


def _sample(home: Home, split: str, number: int, is_defect: bool, masks: bool) -> dict[str, object]:
    random = np.random.default_rng([split == "train", number])
    image = random.integers(90, 130, (SIDE, SIDE, 3), dtype=np.uint8)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    if is_defect:
        row, column = random.integers(5, SIDE - 12, 2)
        mask[row : row + 7, column : column + 7] = 255
        image[mask > 0] = 20 if number % 2 else 240
    return {
        "sha256": _store(home, image),
        "split": split,
        "group": f"{split}{number}",
        "label": "defect" if is_defect else "ok",
        "defect_type": ("dark" if number % 2 else "bright") if is_defect else "",
        "mask": _store(home, mask) if is_defect and masks else "",
        "part": f"p{number}",
        "lot": "1",
        "camera": "top",
        "captured_at": datetime(2026, 1, 5, tzinfo=UTC),
        "day": "2026-01-05",
    }


def _store(home: Home, image: np.ndarray) -> str:
    content = cv2.imencode(".png", image)[1].tobytes()
    digest = sha256(content).hexdigest()
    home.object(digest).parent.mkdir(parents=True, exist_ok=True)
    home.object(digest).write_bytes(content)
    return digest
