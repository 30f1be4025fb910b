"""A day like the reference raises nothing; a changed day raises alerts; few images are said."""

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ml.data import catalog
from ml.errors import DataError
from ml.evaluation.promote import promote
from ml.inference.batch import predict_shard
from ml.inference.night import plan_night
from ml.monitoring.drift import drift
from ml.results import open_results


@pytest.fixture
def inspected(tiny):
    """The tiny line after a night."""
    import inspect as python_inspect

    assert python_inspect.isfunction(promote)
    return tiny


def test_a_day_without_a_champion_says_what_to_do(tiny):
    store = open_results(tiny.env, tiny.home)
    with pytest.raises(DataError, match="no champion is live; run `loupe promote`"):
        drift(tiny.home, tiny.line, store, "2026-01-05")


_ = (pa, pc, catalog, predict_shard, plan_night)
