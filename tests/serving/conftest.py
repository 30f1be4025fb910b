"""A tiny installation with a live bundle of real ONNX models, and the app on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_line
from flask import Flask
from flask.testing import FlaskClient
from live_line import DAYS, LINE, LINE_FILE, promote, seal

from ml import files
from ml.bundle import Bundle
from ml.results import open_results
from ml.settings import Home
from serving import create_app


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An installation with one line file and nothing else."""
    files.write_bytes(tmp_path / "lines" / "tiny.toml", LINE_FILE.encode())
    return Home(tmp_path / "home")


@pytest.fixture
def config(home: Home) -> dict[str, str]:
    return {
        "LOUPE_HOME": str(home.root),
        "LOUPE_LINES": str(home.root.parent / "lines"),
        "LOUPE_DASHBOARD": str(home.root.parent / "dist"),
        "LOUPE_THREADS": "1",
        "LOUPE_UPLOAD_MB": "1",
    }


@pytest.fixture
def bundle(home: Home) -> Bundle:
    """The live bundle."""
    made = seal(home)
    promote(home, made)
    return made


@pytest.fixture
def app(config: dict[str, str]) -> Flask:
    return create_app(config)


@pytest.fixture
def client(app: Flask) -> Iterator[FlaskClient]:
    with app.test_client() as client:
        yield client


@pytest.fixture
def documents(home: Home, bundle: Bundle) -> None:
    """Two nights, their windows, an alert, parts and runs in the results store."""
    store = open_results(tiny_line.make_env(home.root), home)
    base = {"line": LINE, "bundle": bundle.name}
    document = base | {"title": "Tiny plates", "description": "", "models": [], "spread": None}
    store.put("lines", {LINE: document})
    runs = {"0" * 32: "kept", bundle.name: "promoted"}
    store.put(
        "runs",
        {f"{LINE}__{b}": {"line": LINE, "bundle": b, "decision": d} for b, d in runs.items()},
    )
    for day in DAYS:
        store.put("nights", {f"{LINE}__{day}": base | {"day": day, "images": 3}})
        for kind, severity in (("image", "alarm"), ("embedding", "none")):
            window = base | {"day": day, "kind": kind, "severity": severity}
            store.put("windows", {f"{LINE}__{day}__{kind}": window})
        for number, verdict in enumerate(("fail", "review", "review")):
            sha256 = f"{number}" * 64
            part = base | {"day": day, "sha256": sha256, "verdict": verdict}
            store.put("parts", {f"{LINE}__{day}__{sha256[:16]}": part})
    store.put("alerts", {f"{LINE}__{DAYS[1]}__image": base | {"day": DAYS[1], "severity": "alarm"}})
