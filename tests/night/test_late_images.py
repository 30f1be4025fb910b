"""An image that comes while its night runs, or after it, waits for the next run of its day."""

import cv2
import numpy as np
import pyarrow as pa
import pytest
import tiny_line
from deltalake import DeltaTable
from tiny_line import Tiny

from ml.data import catalog, predicted
from ml.errors import DataError
from ml.inference.batch import predict_shards
from ml.inference.night import Plan, plan_night, read_plan
from ml.inference.publish import publish
from ml.inference.reconcile import Reconciled, reconcile
from ml.inference.stray import first_day
from ml.results import ResultStore

DAY = tiny_line.DAY
IMAGES = tiny_line.DAY_IMAGES
NEXT_DAY = "2026-01-06"


def _arrive(tiny: Tiny, name: str, day: str = DAY, part: str = "late") -> None:
    """Accept one more good image of a day."""
    pixels = tiny_line.picture(np.random.default_rng(len(name)), 0)
    sha256 = tiny_line.store(tiny.home, cv2.imencode(".png", pixels)[1].tobytes())
    row = catalog.read_images(tiny.home, "tiny", day=DAY).to_pylist()[0]
    row |= {"object": name, "sha256": sha256, "day": day, "part": part}
    catalog.upsert_images(tiny.home, "tiny", pa.Table.from_pylist([row], catalog.IMAGES))


def _predict(tiny: Tiny, plan: Plan, *shards: int) -> None:
    predict_shards(tiny.home, plan, shards or range(len(plan.sizes)), tiny.line.night.batch, 1)


def _finish(tiny: Tiny, store: ResultStore, day: str = DAY) -> Reconciled:
    publish(tiny.home, store, "tiny", day)
    return reconcile(tiny.home, store, "tiny", day)


def _run(tiny: Tiny, store: ResultStore, day: str = DAY) -> Reconciled:
    """A whole night, as the DAG runs it."""
    _predict(tiny, plan_night(tiny.home, tiny.line, day))
    return _finish(tiny, store, day)


def _reconciled(store: ResultStore, day: str = DAY) -> bool:
    night = store.get("nights", f"tiny__{day}")
    assert night is not None
    return bool(night["reconciled"])


def test_an_ingest_between_two_shards_shifts_no_image(live: Tiny, store: ResultStore) -> None:
    plan = plan_night(live.home, live.line, DAY)
    _predict(live, plan, 0)
    _arrive(live, "000-late.png")
    _predict(live, read_plan(live.home, live.line, DAY), *range(1, 9))
    done = _finish(live, store)
    assert (done.images, done.predictions, done.late) == (IMAGES, IMAGES, {DAY: 1})
    assert not _reconciled(store)


def test_a_repeated_night_inspects_what_came_late(live: Tiny, store: ResultStore) -> None:
    assert _run(live, store).late == {}
    assert _reconciled(store)
    _arrive(live, "000-late.png")
    assert _finish(live, store).late == {DAY: 1}
    assert not _reconciled(store)
    done = _run(live, store)
    assert (done.images, done.documents, done.late) == (IMAGES + 1, IMAGES + 1, {})
    assert _reconciled(store)
    assert "000-late.png" in predicted.read(live.home, "tiny", day=DAY)["object"].to_pylist()


def test_a_late_image_counts_also_where_another_one_is_missing(
    live: Tiny, store: ResultStore, caplog: pytest.LogCaptureFixture
) -> None:
    _run(live, store)
    _arrive(live, "late.png", part="P-late")
    table = DeltaTable(str(live.home.table("tiny", "images")))
    gone = catalog.read_images(live.home, "tiny", day=DAY)["object"][0].as_py()
    table.delete(f"object = '{gone}'")
    done = _run(live, store, NEXT_DAY)
    assert (done.late, done.late_parts) == ({DAY: 1}, {DAY: ["P-late"]})
    assert "the night lacks 1 images (1 parts: P-late)" in caplog.text
    assert not _reconciled(store)


def test_what_is_predicted_again_but_not_published_is_late(live: Tiny, store: ResultStore) -> None:
    _run(live, store)
    _arrive(live, "late.png")
    _predict(live, plan_night(live.home, live.line, DAY))
    assert _run(live, store, NEXT_DAY).late == {DAY: 1}


def test_the_next_night_says_what_came_too_late_for_an_earlier_one(
    live: Tiny, store: ResultStore
) -> None:
    _run(live, store)
    _arrive(live, "late.png")
    # The day before has images to learn from and no night: it lacks nothing.
    assert _run(live, store, NEXT_DAY).late == {DAY: 1}
    assert (_reconciled(store, NEXT_DAY), _reconciled(store)) == (True, False)
    # A plan alone inspects nothing.
    plan_night(live.home, live.line, DAY)
    assert _run(live, store, NEXT_DAY).late == {DAY: 1}


def test_a_day_whose_night_never_ran_is_late_and_gives_an_alarm(
    live: Tiny, store: ResultStore
) -> None:
    _run(live, store)
    _arrive(live, "missed.png", NEXT_DAY, part="P-missed")
    done = _run(live, store, "2026-01-07")
    assert (done.late, done.late_parts) == ({NEXT_DAY: 1}, {NEXT_DAY: ["P-missed"]})
    (alert,) = store.find("alerts", {"line": "tiny", "kind": "missed"})
    assert (alert["day"], alert["severity"]) == (NEXT_DAY, "alarm")
    assert "1 images have no verdict" in alert["detail"]
    assert _run(live, store, NEXT_DAY).late == {}
    assert not store.find("alerts", {"line": "tiny", "kind": "missed"})


def test_a_day_of_images_to_learn_from_is_not_missed(live: Tiny, store: ResultStore) -> None:
    """Also not where somebody lets an earlier day be inspected."""
    _run(live, store)
    _arrive(live, "labelled.png", NEXT_DAY)
    (row,) = catalog.read_images(live.home, "tiny", day=NEXT_DAY).to_pylist()
    label = {"sha256": row["sha256"], "label": "ok", "source": "layout"}
    rows = pa.Table.from_pylist([dict.fromkeys(catalog.LABELS.names, "") | label], catalog.LABELS)
    catalog.upsert_labels(live.home, "tiny", rows)
    assert _run(live, store, "2026-01-07").late == {}
    assert not store.find("alerts", {"line": "tiny", "kind": "missed"})


def test_a_backfill_of_an_earlier_day_raises_no_alarm_about_the_days_after_it(
    live: Tiny, store: ResultStore
) -> None:
    for day in ("2025-06-01", "2025-06-02"):
        _arrive(live, f"{day}.png", day)
    _run(live, store)
    assert _run(live, store, "2025-06-01").late == {}
    # The first night runs again, so that its plan is newer than that of the backfill.
    _arrive(live, "late.png")
    assert _run(live, store).late == {}
    assert not store.find("alerts", {"line": "tiny"})


@pytest.mark.parametrize("day", ["2000-01-01", "2099-12-31"])
def test_an_image_of_a_camera_with_a_wrong_clock_is_named_until_it_was_inspected(
    live: Tiny, store: ResultStore, day: str
) -> None:
    _arrive(live, "history.png", "1999-12-31")
    assert _run(live, store).stray == {}
    _arrive(live, "stray.png", day)
    assert _run(live, store, NEXT_DAY).stray == {day: 1}
    assert _finish(live, store, NEXT_DAY).stray == {day: 1}
    (alert,) = store.find("alerts", {"line": "tiny", "kind": "stray"})
    assert alert["day"] == NEXT_DAY
    assert f"Images without a verdict: 1, of {day}, for which no night comes" in alert["detail"]
    assert _run(live, store, day).stray == {}
    assert _finish(live, store, NEXT_DAY).stray == {}


def test_strays_are_counted_from_the_first_night_that_can_still_be_read(
    live: Tiny, store: ResultStore
) -> None:
    _arrive(live, "history.png", "2001-01-01")
    _run(live, store)
    table = DeltaTable(str(live.home.table("tiny", "images")))
    table.optimize.compact()
    table.vacuum(0, dry_run=False, enforce_retention_duration=False)
    _arrive(live, "today.png", NEXT_DAY)
    assert _run(live, store, NEXT_DAY).stray == {}
    _arrive(live, "stray.png", "2000-01-01")
    assert _finish(live, store, NEXT_DAY).stray == {"2000-01-01": 1}


def test_nights_of_an_older_loupe_came_before_those_with_a_plan() -> None:
    plans = [Plan("tiny", day, "", 9, version, ()) for day, version in ((DAY, 5), (NEXT_DAY, 3))]
    assert first_day(plans, [DAY, NEXT_DAY], DAY) == NEXT_DAY
    assert first_day(plans, [DAY, NEXT_DAY, "2026-01-02"], DAY) == "2026-01-02"
    assert first_day([], [], DAY) == DAY


def test_a_plan_is_the_same_bytes_until_an_image_of_its_day_comes(live: Tiny) -> None:
    plan_night(live.home, live.line, DAY)
    path = live.home.night("tiny", DAY)
    before = path.read_bytes()
    _arrive(live, "other.png", NEXT_DAY)
    plan_night(live.home, live.line, DAY)
    assert path.read_bytes() == before
    _arrive(live, "late.png")
    assert plan_night(live.home, live.line, DAY).images == IMAGES + 1


def test_a_night_whose_images_were_cleaned_away_is_planned_anew(live: Tiny) -> None:
    plan = plan_night(live.home, live.line, DAY)
    _arrive(live, "other.png", NEXT_DAY)
    table = DeltaTable(str(live.home.table("tiny", "images")))
    table.optimize.compact()
    table.vacuum(0, dry_run=False, enforce_retention_duration=False)
    # The images beside the plan stay; without them the night asks for a new plan.
    _predict(live, plan, 0)
    live.home.night_images("tiny", DAY).unlink()
    with pytest.raises(DataError, match="plan the night anew"):
        _predict(live, plan, 0)
    plan = plan_night(live.home, live.line, DAY)
    assert plan.images == IMAGES
    _predict(live, plan, 0)


def test_a_plan_of_an_earlier_loupe_is_planned_anew(live: Tiny) -> None:
    path = live.home.night("tiny", DAY)
    path.parent.mkdir(parents=True)
    path.write_text('{"line": "tiny", "day": "2026-01-05", "bundle": "", "images": 3}')
    assert read_plan(live.home, live.line, DAY).images == IMAGES
