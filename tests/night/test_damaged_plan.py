"""A plan that cannot be understood stops no other day, and its own day mixes no two bundles."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import tiny_line
from tiny_line import Tiny

from ml import files
from ml.errors import CountError
from ml.inference.batch import predict_shards
from ml.inference.night import find_plan, plan_night, read_plan
from ml.inference.publish import publish
from ml.inference.reconcile import reconcile
from ml.results import ResultStore

DAY, BEFORE = tiny_line.DAY, "2026-01-04"

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "truncated": lambda whole: whole[: len(whole) // 2],
    "other bytes": lambda _: b"\xff\0",
    "no object": lambda _: b"null",
    "a key lost": lambda whole: whole.replace(b'"sizes"', b'"size"'),
}


def _night(tiny: Tiny, store: ResultStore, day: str) -> None:
    plan = plan_night(tiny.home, tiny.line, day)
    predict_shards(tiny.home, plan, range(len(plan.sizes)), 16, 2)
    publish(tiny.home, store, "tiny", day)
    reconcile(tiny.home, store, "tiny", day)


def test_a_damaged_plan_of_a_past_day_is_named_and_stops_no_other_day(
    live: Tiny, store: ResultStore, caplog: pytest.LogCaptureFixture
) -> None:
    for day in (BEFORE, DAY):
        _night(live, store, day)
    path = live.home.night("tiny", BEFORE)
    whole = path.read_bytes()
    for damaged in DAMAGE.values():
        path.write_bytes(damaged(whole))
        caplog.clear()
        assert reconcile(live.home, store, "tiny", DAY).predictions == tiny_line.DAY_IMAGES
        assert f"{path}: not a plan" in caplog.text
        plan_night(live.home, live.line, BEFORE)
        assert path.read_bytes() == whole


def test_a_night_that_lost_its_plan_does_not_mix_bundles_unnoticed(
    live: Tiny, store: ResultStore
) -> None:
    plan = plan_night(live.home, live.line, DAY)
    predict_shards(live.home, plan, range(5), 16, 2)
    live.home.night("tiny", DAY).write_bytes(b"{")
    line = live.line.model_copy(update={"seed": 9})
    tiny_line.write_runs(live.home, line)
    later = replace(live, line=line).evaluate().name
    record = {"line": "tiny", "bundle": later, "previous": plan.bundle, "number": 2}
    files.write_json(live.home.live("tiny"), record)
    anew = read_plan(live.home, live.line, DAY)
    assert find_plan(live.home, "tiny", DAY) == anew
    assert anew.bundle == later
    predict_shards(live.home, anew, range(5, len(anew.sizes)), 16, 2)
    publish(live.home, store, "tiny", DAY)
    with pytest.raises(CountError, match=f"of bundle {plan.bundle}; the night's is {later}"):
        reconcile(live.home, store, "tiny", DAY)
