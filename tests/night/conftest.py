"""The results store of the tiny line."""

import pytest
from tiny_line import Tiny

from ml.results import ResultStore, open_results


@pytest.fixture
def store(tiny: Tiny) -> ResultStore:
    return open_results(tiny.env, tiny.home)
