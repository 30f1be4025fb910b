"""Fixtures that more than one room uses."""

import shutil
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


@pytest.fixture(scope="session")
def evaluated_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with images of two days, a third with a defect, finished runs and their bundle."""
    import tiny_line

    folder = tmp_path_factory.mktemp("tiny")
    home, line = Home(folder), tiny_line.make_line()
    tiny_line.write_dataset(home, line.name, tiny_line.add_images(home, line.name))
    tiny_line.write_runs(home, line)
    Tiny(tiny_line.make_env(folder), home, line).evaluate()
    return folder


@pytest.fixture
def tiny(evaluated_home: Path, tmp_path: Path) -> Tiny:
    """A copy of its own of the evaluated tiny line."""
    import tiny_line

    folder = tmp_path / "home"
    shutil.copytree(evaluated_home, folder)
    env = tiny_line.make_env(folder)
    return Tiny(env, Home(env.home), tiny_line.make_line())


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's root."""
    return Path(__file__).parents[1]


@pytest.fixture(scope="session")
def real_data(project: Path) -> Path:
    """The folder of real images; without it the test is skipped, loudly."""
    folder = project.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real images are not here ({folder})")
    return folder
