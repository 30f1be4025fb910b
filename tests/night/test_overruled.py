"""A part that a person failed does not pass unnoticed when its day is inspected again."""

from typing import Any

import pyarrow as pa
import pytest
import tiny_line
from tiny_line import Tiny

from ml.data import catalog, predicted
from ml.inference.batch import predict_shards
from ml.inference.night import plan_night
from ml.inference.overruled import report_overruled
from ml.inference.publish import publish
from ml.inference.reconcile import reconcile
from ml.results import Document, ResultStore

DAY = tiny_line.DAY


def test_the_latest_verdict_of_a_person_is_held_against_a_pass(
    live: Tiny, store: ResultStore
) -> None:
    plan = plan_night(live.home, live.line, DAY)
    predict_shards(live.home, plan, range(len(plan.sizes)), live.line.night.batch, 1)
    publish(live.home, store, "tiny", DAY)
    rows = predicted.read(live.home, "tiny", day=DAY).to_pylist()
    passed = next(row for row in rows if row["verdict"] == "pass")
    failed = next(row for row in rows if row["verdict"] == "fail")

    def alert(by: str, verdict: str, hour: int) -> Document | None:
        said = {"line": "tiny", "verdict": verdict, "by": by, "at": f"2026-01-06T{hour:02d}"}
        for row in (passed, failed):
            name = f"tiny__{row['sha256'][:16]}__{by}"
            store.put("reviews", {name: said | {"sha256": row["sha256"]}})
        reconcile(live.home, store, "tiny", DAY)
        return store.get("alerts", f"tiny__{DAY}__overruled")

    assert alert("Ada", "pass", 7) is None
    found = alert("Bo", "fail", 8)
    assert found is not None
    assert (found["severity"], found["action"]) == ("alarm", "flag")
    assert found["title"] == f"1 images of {DAY} pass that a person failed"
    assert found["detail"] == f"Hold these parts back: {passed['part']}."
    # What is no label is no word against it either: without a verdict, a name or a time.
    of_image = {"line": "tiny", "sha256": passed["sha256"]}
    store.put("reviews", {"a": of_image | {"by": "Di", "verdict": "?", "at": "2026-01-06T10"}})
    store.put("reviews", {"b": of_image | {"verdict": "pass", "at": "2026-01-06T10"}})
    store.put("reviews", {"c": of_image | {"by": "Ed", "verdict": "pass"}})
    assert alert("Bo", "fail", 8) == found
    assert alert("Cy", "pass", 9) is None


def test_reviews_of_other_images_that_a_person_passed_are_not_read(
    live: Tiny, store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"sha256": n * 64, "verdict": "pass", "part": f"p{n}"} for n in "abc"]
    said = {"line": "tiny", "by": "Ada", "at": "2026-01-06T08"}
    for sha256, verdict in (("a", "pass"), ("b", "fail"), ("d", "pass"), ("e", "fail")):
        body = said | {"sha256": sha256 * 64, "verdict": verdict}
        store.put("reviews", {f"tiny__{sha256}__Ada": body})
    read = []
    real = type(store).find

    def find(self: ResultStore, *args: Any, **more: Any) -> list[Document]:
        read.extend(found := real(self, *args, **more))
        return found

    monkeypatch.setattr(type(store), "find", find)
    report_overruled(live.home, store, "tiny", DAY, pa.Table.from_pylist(rows))
    alert = store.get("alerts", f"tiny__{DAY}__overruled")
    assert alert is not None
    assert alert["detail"] == "Hold these parts back: pb."
    assert {one["sha256"][0] for one in read} == {"b", "e"}


def test_a_fail_of_a_part_with_a_copy_of_the_image_is_no_word_on_it(
    live: Tiny, store: ResultStore
) -> None:
    row = catalog.read_images(live.home, "tiny").slice(0, 1).to_pylist()[0]
    copied = {"object": "copy.png", "part": "other", "status": "duplicate"}
    copied["reason"] = f"{catalog.SAME_BYTES}{row['object']}"
    rows = pa.Table.from_pylist([row | copied], schema=catalog.IMAGES)
    catalog.upsert_images(live.home, "tiny", rows)
    passed = pa.Table.from_pylist([row | {"verdict": "pass"}])
    said = {"line": "tiny", "sha256": row["sha256"], "verdict": "fail", "by": "Ada", "at": "2026"}

    def alerts() -> int:
        report_overruled(live.home, store, "tiny", DAY, passed)
        return store.count("alerts", {"kind": "overruled"})

    store.put("reviews", {"a": said | {"object": "copy.png"}})
    assert alerts() == 0
    store.put("reviews", {"b": said | {"object": row["object"]}})
    assert alerts() == 1


def test_a_night_that_passes_nothing_disputed_does_not_search_the_catalog(
    live: Tiny, store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"line": "tiny", "by": "Ada", "at": "2026-01-06T08", "verdict": "fail"}
    store.put("reviews", {"tiny__e__Ada": said | {"sha256": "e" * 64}})
    monkeypatch.setattr(catalog, "read_images_of", None)
    rows = [{"sha256": "a" * 64, "verdict": "pass", "part": "pa"}]
    report_overruled(live.home, store, "tiny", DAY, pa.Table.from_pylist(rows))
    assert store.get("alerts", f"tiny__{DAY}__overruled") is None
