"""A day like the reference is quiet, a changed day is not; what is not tested is said."""

import shutil
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_line import DAY, Tiny

from ml import files
from ml.bundle import seal_bundle
from ml.bundle.live import live_bundle, live_name
from ml.data import catalog, predicted
from ml.errors import BundleError, DataError
from ml.inference.batch import predict_shards
from ml.inference.night import plan_night
from ml.monitoring.drift import drift
from ml.results import ResultStore, open_results
from ml.settings import LineConfig

Row = dict[str, Any]


@pytest.fixture
def store(tiny: Tiny) -> ResultStore:
    return open_results(tiny.env, tiny.home)


@pytest.fixture
def inspected(tiny: Tiny) -> Tiny:
    """The tiny line after a night with its champion."""
    record = {"line": "tiny", "bundle": tiny.evaluate().name, "previous": None, "number": 1}
    files.write_json(tiny.home.live("tiny"), record)
    _inspect(tiny)
    return tiny


def _inspect(tiny: Tiny) -> None:
    plan = plan_night(tiny.home, tiny.line, DAY)
    predict_shards(tiny.home, plan, range(len(plan.sizes)), tiny.line.night.batch, 1)


def _darken(tiny: Tiny) -> None:
    """As if the lamp had failed: every measured brightness of the day falls."""
    rows = catalog.read_images(tiny.home, "tiny", day=DAY).to_pylist()
    darker = [row | {"brightness": row["brightness"] - 60.0} for row in rows]
    table = pa.Table.from_pylist(darker, schema=catalog.IMAGES)
    catalog.upsert_images(tiny.home, "tiny", table)


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
    assert "brightness: shifted by " in alert["detail"]
    for report in found.reports:
        page = (inspected.home.root / "reports" / report).read_text()
        assert "brightness" in page or "component 1" in page
    page = inspected.home.reports("tiny") / "drift" / f"{DAY}-image.html"
    assert f"{DAY}, image drift:\nalarm." in page.read_text()


def test_a_shift_that_was_cut_off_is_not_given_as_its_size(
    inspected: Tiny, store: ResultStore
) -> None:
    rows = catalog.read_images(inspected.home, "tiny", day=DAY).to_pylist()
    wider = [row | {"aspect": row["aspect"] + 1.0} for row in rows]
    table = pa.Table.from_pylist(wider, schema=catalog.IMAGES)
    catalog.upsert_images(inspected.home, "tiny", table)
    drift(inspected.home, inspected.line, store, DAY)
    detail = store.find("alerts", {"kind": "image"})[0]["detail"]
    assert "aspect: shifted by 99 or more deviations" in detail


def _with_monitor(tiny: Tiny, **changes: object) -> LineConfig:
    return tiny.line.model_copy(update={"monitor": tiny.line.monitor.model_copy(update=changes)})


def _not_tested(tiny: Tiny, store: ResultStore, line: LineConfig | None = None) -> str:
    """The note of a day that leaves windows without tests and no alert."""
    found = drift(tiny.home, line or tiny.line, store, DAY)
    windows = store.find("windows", {"day": DAY})
    assert (found.severity, found.retrain, found.reports) == ("none", False, [])
    assert [window["tests"] for window in windows] == [[], [], []]
    assert {window["note"] for window in windows} == {found.note}
    assert store.count("alerts") == 0
    return found.note


def _change_predictions(tiny: Tiny, change: Callable[[Row], Row]) -> None:
    rows = predicted.read(tiny.home, "tiny", day=DAY).to_pylist()
    for shard in {row["shard"] for row in rows}:
        changed = [change(row) for row in rows if row["shard"] == shard]
        table = pa.Table.from_pylist(changed, schema=predicted.SCHEMA)
        predicted.write_shard(tiny.home, "tiny", DAY, shard, table)


def test_too_few_groups_are_said_not_hidden(inspected: Tiny, store: ResultStore) -> None:
    _darken(inspected)
    assert drift(inspected.home, inspected.line, store, DAY).severity == "alarm"
    line = _with_monitor(inspected, min_images=1000)
    # The alerts of the first run go, too.
    assert _not_tested(inspected, store, line) == "too few groups: 60 of 1000"


def test_images_of_one_group_count_once(inspected: Tiny, store: ResultStore) -> None:
    rows = catalog.read_images(inspected.home, "tiny", day=DAY).to_pylist()
    shared = [row | {"group": f"g{number // 3}"} for number, row in enumerate(rows)]
    table = pa.Table.from_pylist(shared, schema=catalog.IMAGES)
    catalog.upsert_images(inspected.home, "tiny", table)
    assert _not_tested(inspected, store) == "too few groups: 20 of 30"
    drift(inspected.home, _with_monitor(inspected, min_images=20), store, DAY)
    window = store.find("windows", {"day": DAY})[0]
    assert (window["images"], window["groups"]) == (60, 20)
    assert window["tests"]


def test_a_reference_that_can_never_reject_is_said(inspected: Tiny, store: ResultStore) -> None:
    bundle = _with_reference(inspected, lambda row: row | {"group": "lot 1"})
    _change_predictions(inspected, lambda row: row | {"bundle": bundle})
    expected = f"too few groups in the reference of bundle {bundle}: 1"
    assert _not_tested(inspected, store) == expected


def test_an_older_reference_without_groups_is_said(inspected: Tiny, store: ResultStore) -> None:
    bundle = _with_reference(inspected, lambda row: {k: row[k] for k in row if k != "group"})
    _change_predictions(inspected, lambda row: row | {"bundle": bundle})
    assert "does not know its groups; train again" in _not_tested(inspected, store)


def _with_reference(tiny: Tiny, change: Callable[[Row], Row]) -> str:
    """Name of a bundle like the champion but for its reference."""
    champion = live_bundle(tiny.home, "tiny")
    assert champion is not None
    draft = tiny.home.bundle(".draft-other")
    shutil.copytree(champion.folder, draft)
    rows = [change(row) for row in pq.read_table(champion.reference).to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows), draft / "reference.parquet")
    return seal_bundle(tiny.home, draft).name


def test_a_promotion_after_the_night_changes_nothing(inspected: Tiny, store: ResultStore) -> None:
    _darken(inspected)
    drift(inspected.home, inspected.line, store, DAY)
    before = [store.find(name) for name in ("windows", "alerts")]
    other = _with_reference(inspected, lambda row: row | {"brightness": row["brightness"] - 60})
    files.write_json(inspected.home.live("tiny"), {"line": "tiny", "bundle": other})
    drift(inspected.home, inspected.line, store, DAY)
    assert [store.find(name) for name in ("windows", "alerts")] == before


def test_a_night_of_two_bundles_is_not_tested(inspected: Tiny, store: ResultStore) -> None:
    _change_predictions(inspected, lambda row: row | {"bundle": "b" if row["shard"] else "a"})
    assert _not_tested(inspected, store).startswith("inspected by several bundles (a, b)")


def test_a_night_before_the_first_promotion_is_not_tested(tiny: Tiny, store: ResultStore) -> None:
    _inspect(tiny)
    note = "no image could be inspected: no champion bundle"
    assert _not_tested(tiny, store) == note


def test_a_night_where_every_part_was_held_says_why(inspected: Tiny, store: ResultStore) -> None:
    held = {"p_defect": None, "verdict": "review", "reason": "the models failed"}
    _change_predictions(inspected, lambda row: row | held)
    note = "no image could be inspected: the models failed"
    assert _not_tested(inspected, store) == note


def test_a_day_without_images_is_not_tested(tiny: Tiny, store: ResultStore) -> None:
    found = drift(tiny.home, tiny.line, store, "2026-03-01")
    assert (found.severity, found.note) == ("none", "no images on this day")


def test_a_day_that_was_not_inspected_and_no_day_at_all_are_errors(
    tiny: Tiny, store: ResultStore
) -> None:
    with pytest.raises(DataError, match=f"no predictions of {DAY}; run `loupe predict`"):
        drift(tiny.home, tiny.line, store, DAY)
    with pytest.raises(DataError, match="expected YYYY-MM-DD"):
        drift(tiny.home, tiny.line, store, "yesterday")


def test_a_line_of_a_segmenter_alone_is_tested_without_embeddings(tiny: Tiny) -> None:
    # A segmenter gives none.
    tiny = Tiny(tiny.env, tiny.home, tiny.line.model_copy(update={"models": ("segmenter",)}))
    files.write_json(
        tiny.home.live("tiny"),
        {"line": "tiny", "bundle": tiny.evaluate().name, "previous": None, "number": 1},
    )
    _inspect(tiny)
    _darken(tiny)
    store = open_results(tiny.env, tiny.home)
    found = drift(tiny.home, tiny.line, store, DAY)
    assert found.kinds == {"image": "alarm", "embedding": "none", "model": "none"}
    assert len(found.reports) == 1
    window = store.get("windows", f"tiny__{DAY}__embedding")
    assert window is not None
    assert (window["tests"], window["note"]) == ([], "the line's models give no embedding")
