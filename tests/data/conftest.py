"""A small source of good plates, as an operator would have it, and ways to break it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ml.data.ingest import Batch, ingest
from ml.data.validate import Outcome, validate
from ml.settings import Home, LineConfig

SIDE = 48


@dataclass
class Plant:
    """A source folder, a home, and a line with class folders."""

    source: Path
    home: Home
    line: LineConfig

    def picture(self, key: str, seed: int, shape: tuple[int, int] = (SIDE, SIDE)) -> Path:
        """Write a random textured picture."""
        noise = np.random.default_rng(seed).integers(40, 200, (*shape, 3)).astype(np.uint8)
        return self.write(key, cv2.imencode(Path(key).suffix, noise)[1].tobytes())

    def write(self, key: str, content: bytes) -> Path:
        """Write a file of the source."""
        path = self.source / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def ingest(self, until: str | None = None) -> Batch:
        """The first half of an ingest."""
        return ingest(self.home, self.line, source=str(self.source), until=until, threads=1)

    def run(self) -> Outcome:
        """A whole ingest."""
        return validate(self.home, self.line, self.ingest().name)


def make_line(**layout: Any) -> LineConfig:
    """A line with a layout."""
    return LineConfig.model_validate(
        {
            "name": "plant",
            "title": "Plant",
            "source": {"uri": "unused", "layout": {"kind": "class_folders", **layout}},
        }
    )


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """Four good and two defective pictures."""
    made = Plant(tmp_path / "source", Home(tmp_path / "home"), make_line())
    for seed in range(4):
        made.picture(f"ok/part{seed}.png", seed)
    for seed in range(4, 6):
        made.picture(f"scratch/part{seed}.jpg", seed)
    return made
