"""Fixtures that more than one room uses."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from ml.bundle import Bundle
from ml.settings import Env, Home, LineConfig


@dataclass(frozen=True)
class Tiny:
    """An installation with a tiny line (`tiny_line.py`) whose models are trained."""

    env: Env
    home: Home
    line: LineConfig

    def evaluate(self) -> Bundle:
        """The bundle of its dataset."""
        from tiny_line import DATASET

        from ml.evaluation.evaluate import evaluate

        return evaluate(self.env, self.home, self.line, DATASET).bundle


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    """Sixty images of one day, twenty with a defect, a dataset and finished runs."""
    import tiny_line

    env = tiny_line.make_env(tmp_path)
    home = Home(env.home)
    line = tiny_line.make_line()
    tiny_line.write_dataset(home, line.name, tiny_line.add_images(home, line.name))
    tiny_line.write_runs(home, line)
    return Tiny(env, home, line)
