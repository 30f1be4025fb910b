"""Documents that say other than the predictions are no proof of a night, however many they are."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
import tiny_line
from tiny_line import Tiny

from ml.errors import CountError
from ml.inference.batch import predict_shards
from ml.inference.night import Plan, plan_night
from ml.inference.publish import publish
from ml.inference.reconcile import reconcile
from ml.results import ResultStore

DAY = tiny_line.DAY


def _inspect(live: Tiny, bundle: str | None = None) -> Plan:
    plan = plan_night(live.home, live.line, DAY, bundle)
    predict_shards(live.home, plan, range(len(plan.sizes)), 3, 1)
    return plan


def _refused(live: Tiny, store: ResultStore) -> str:
    with pytest.raises(CountError) as refused:
        reconcile(live.home, store, "tiny", DAY)
    (night,) = store.find("nights")
    assert not night["reconciled"]
    assert f"run: loupe publish --line tiny --day {DAY}" in str(refused.value)
    return str(refused.value)


def test_a_day_inspected_again_by_another_bundle_must_be_published_again(
    live: Tiny, store: ResultStore
) -> None:
    first = _inspect(live).bundle
    publish(live.home, store, "tiny", DAY)
    line = live.line.model_copy(update={"seed": 5})
    tiny_line.write_runs(live.home, line)
    other = _inspect(live, replace(live, line=line).evaluate().name).bundle
    said = _refused(live, store)
    assert "parts whose documents say another verdict or bundle: 000.png" in said
    assert f"of bundle {first}; its predictions" in said
    assert f"of bundle {other}" in said
    publish(live.home, store, "tiny", DAY)
    assert reconcile(live.home, store, "tiny", DAY).documents == tiny_line.DAY_IMAGES


@pytest.mark.parametrize(
    ("collection", "change", "named"),
    [
        ("parts", {"verdict": "pass"}, "1 parts whose documents say another verdict or bundle"),
        ("parts", {"bundle": "b"}, "1 parts whose documents say another verdict or bundle"),
        ("shards", {"review": 9}, "shard 0: its document says"),
        ("shards", {"bundle": "b"}, "of bundle b; its predictions"),
        ("nights", {"fail": 0}, "the night's document says"),
        ("nights", {"bundle": "b"}, "of bundle b; its predictions"),
    ],
)
def test_a_single_document_that_says_something_else_is_named(
    live: Tiny, store: ResultStore, collection: str, change: dict[str, object], named: str
) -> None:
    _inspect(live)
    publish(live.home, store, "tiny", DAY)
    one = store.find(collection)[0]
    store.put(collection, {one.pop("id"): one | change})
    assert named in _refused(live, store)
    publish(live.home, store, "tiny", DAY)
    reconcile(live.home, store, "tiny", DAY)


def test_the_document_of_a_reconciled_night_has_the_fields_that_are_documented(
    live: Tiny, store: ResultStore
) -> None:
    _inspect(live)
    publish(live.home, store, "tiny", DAY)
    reconcile(live.home, store, "tiny", DAY)
    with closing(sqlite3.connect(live.home.results)) as documents:
        query = "SELECT body FROM documents WHERE collection = 'nights'"
        ((body,),) = documents.execute(query).fetchall()
    assert json.loads(body)["reconciled"]
    assert "id" not in json.loads(body)
