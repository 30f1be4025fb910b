"""A day like the reference raises nothing; a changed day raises alerts; few images are said."""

import pytest
from tiny_line import DAY, Tiny

from ml import files
from ml.bundle.live import live_name
from ml.data import catalog
from ml.errors import BundleError, DataError
from ml.inference.batch import predict_shard
from ml.inference.night import plan_night
from ml.monitoring.drift import drift
from ml.results import ResultStore, open_results


@pytest.fixture
def store(tiny: Tiny) -> ResultStore:
    return open_results(tiny.env, tiny.home)


@pytest.fixture
def inspected(tiny: Tiny) -> Tiny:
    """The tiny line after a night with its champion."""
    record = {"line": "tiny", "bundle": tiny.evaluate().name, "previous": None, "number": 1}
    files.write_json(tiny.home.live("tiny"), record)
    plan = plan_night(tiny.home, tiny.line, DAY)
    for shard in range(len(plan.sizes)):
        predict_shard(tiny.home, plan, shard, tiny.line.night.batch, 1)
    return tiny


def _darken(tiny: Tiny) -> None:
    """As if the lamp had failed: every measured brightness of the day falls."""
    rows = catalog.read_images(tiny.home, "tiny", day=DAY).to_pylist()
    darker = [row | {"brightness": row["brightness"] - 60.0} for row in rows]
    table = catalog.IMAGES.empty_table().from_pylist(darker, schema=catalog.IMAGES)
    catalog.upsert_images(tiny.home, "tiny", table)


def test_without_a_champion_it_says_what_to_do(tiny: Tiny, store: ResultStore) -> None:
    with pytest.raises(DataError, match="no champion is live; run `loupe promote`"):
        drift(tiny.home, tiny.line, store, DAY)


def test_a_champion_that_nobody_vouches_for_is_no_reference(
    inspected: Tiny, store: ResultStore
) -> None:
    name = live_name(inspected.home, "tiny")
    assert name is not None
    (inspected.home.bundle(name) / "SIGNATURE").unlink()
    with pytest.raises(BundleError, match="not signed"):
        drift(inspected.home, inspected.line, store, DAY)


def test_a_day_like_the_reference_raises_no_alert(inspected: Tiny, store: ResultStore) -> None:
    found = drift(inspected.home, inspected.line, store, DAY)
    assert found.kinds["image"] == "none"
    assert not found.retrain
    assert store.count("windows", {"day": DAY}) == 3


def test_a_failed_lamp_is_an_alarm_that_asks_for_retraining(
    inspected: Tiny, store: ResultStore
) -> None:
    _darken(inspected)
    for _ in range(2):  # a second run leaves the same documents
        found = drift(inspected.home, inspected.line, store, DAY)
    assert (found.severity, found.kinds["image"], found.retrain) == ("alarm", "alarm", True)
    alert = store.find("alerts", {"kind": "image"})[0]
    assert alert["action"] == "retrain"
    assert "brightness" in alert["detail"]
    for report in found.reports:
        page = (inspected.home.root / "reports" / report).read_text()
        assert "brightness" in page or "component 1" in page


def test_too_few_images_are_said_not_hidden(inspected: Tiny, store: ResultStore) -> None:
    _darken(inspected)
    monitor = inspected.line.monitor.model_copy(update={"min_images": 1000})
    line = inspected.line.model_copy(update={"monitor": monitor})
    assert drift(inspected.home, line, store, DAY).severity == "none"
    assert "too few images" in store.find("windows", {"day": DAY})[0]["note"]
    assert store.count("alerts") == 0
