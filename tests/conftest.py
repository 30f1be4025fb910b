"""Fixtures that more than one room uses."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

import pytest

if TYPE_CHECKING:
    # Imported inside the fixtures: most tests need no ONNX and no Arrow.
    from tiny_line import Tiny


@pytest.fixture(scope="session")
def evaluated_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with images of two days, a third with a defect, finished runs and their bundle."""
    import tiny_line

    from ml.evaluation.evaluate import evaluate
    from ml.settings import Home

    folder = tmp_path_factory.mktemp("tiny")
    home, line = Home(folder), tiny_line.make_line()
    tiny_line.write_dataset(home, line.name, tiny_line.add_images(home, line.name))
    tiny_line.write_runs(home, line)
    evaluate(tiny_line.make_env(folder), home, line, tiny_line.DATASET)
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
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new MLflow database: making one takes seconds, copying it none."""
    from ml.settings import Env
    from ml.training.tracking import open_client

    home = tmp_path_factory.mktemp("mlflow")
    open_client(Env(home, home, "sqlite", f"sqlite:///{home / 'mlflow.db'}", threads=1))
    return home / "mlflow.db"


@pytest.fixture(scope="session")
def aws_server() -> Iterator[str]:
    """The address of one moto server, which speaks S3 and SQS."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(aws_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """That server, empty, and an environment in which every client goes there."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws_server)
    with urlopen(Request(f"{aws_server}/moto-api/reset", method="POST")):
        return aws_server


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
