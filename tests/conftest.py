"""Fixtures that more than one room uses."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    # Imported inside the fixtures: most tests need no ONNX and no Arrow.
    from tiny_line import Tiny


@pytest.fixture(scope="session")
def evaluated_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with images of two days, a third with a defect, finished runs and their bundle."""
    import tiny_line

    from ml.settings import Home

    folder = tmp_path_factory.mktemp("tiny")
    home, line = Home(folder), tiny_line.make_line()
    tiny_line.write_dataset(home, line.name, tiny_line.add_images(home, line.name))
    tiny_line.write_runs(home, line)
    tiny_line.Tiny(tiny_line.make_env(folder), home, line).evaluate()
    return folder


@pytest.fixture
def tiny(evaluated_home: Path, tmp_path: Path) -> "Tiny":
    """A copy of its own of the evaluated tiny line (`tiny_line.py`)."""
    import tiny_line

    from ml.settings import Home

    folder = tmp_path / "home"
    shutil.copytree(evaluated_home, folder)
    env = tiny_line.make_env(folder)
    return tiny_line.Tiny(env, Home(env.home), tiny_line.make_line())


@pytest.fixture
def live(tiny: "Tiny") -> "Tiny":
    """The tiny line with a champion (without MLflow, which the night does not need)."""
    from ml import files

    record = {"line": "tiny", "bundle": tiny.evaluate().name, "previous": None, "number": 1}
    files.write_json(tiny.home.live("tiny"), record)
    return tiny


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
