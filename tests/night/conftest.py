"""A tiny line with a champion, and its results store."""

import pytest
from tiny_line import Tiny

from ml import files
from ml.results import ResultStore, open_results


@pytest.fixture
def live(tiny: Tiny) -> Tiny:
    """The tiny line with a champion (without MLflow, which the night does not need)."""
    record = {"line": "tiny", "bundle": tiny.evaluate().name, "previous": None, "number": 1}
    files.write_json(tiny.home.live("tiny"), record)
    return tiny


@pytest.fixture
def store(tiny: Tiny) -> ResultStore:
    return open_results(tiny.env, tiny.home)
