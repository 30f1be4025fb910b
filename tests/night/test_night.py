"""The night: every image of the day gets a verdict, and none passes because something broke."""

import math
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
import tiny_line
from tiny_line import Tiny

from ml import files
from ml.audit import ledger
from ml.data import catalog, predicted
from ml.data.upgrade import ensure_current
from ml.errors import CountError, DataError
from ml.inference.batch import predict_shards
from ml.inference.engine import ModelSet, Outputs, Scored
from ml.inference.night import Plan, plan_night, read_plan
from ml.inference.publish import publish
from ml.inference.reconcile import reconcile
from ml.results import ResultStore
from ml.training.run import run_name

DAY = tiny_line.DAY
IMAGES = tiny_line.DAY_IMAGES


def _predict(tiny: Tiny, plan: Plan, *shards: int) -> None:
    predict_shards(tiny.home, plan, shards or range(len(plan.sizes)), tiny.line.night.batch, 2)


def _rows(tiny: Tiny) -> list[dict[str, Any]]:
    return predicted.read(tiny.home, "tiny", day=DAY).to_pylist()


def _documents(store: ResultStore) -> dict[str, Any]:
    return {name: store.find(name) for name in ("shards", "nights", "parts")}


def test_every_image_is_inspected_once_and_the_counts_agree(live: Tiny, store: ResultStore) -> None:
    plan = plan_night(live.home, live.line, DAY)
    assert (plan.images, plan.sizes) == (IMAGES, (7,) * 8 + (4,))
    _predict(live, plan)
    rows = _rows(live)
    assert len({row["object"] for row in rows}) == len(rows) == IMAGES
    counts = Counter(row["verdict"] for row in rows)
    assert counts["pass"] >= 35
    assert counts["fail"] >= 15
    models = ("classifier", "segmenter", "anomaly")
    assert all(0 <= row[f"p_{name}"] <= 1 for row in rows for name in models)
    done = publish(live.home, store, "tiny", DAY)
    (part, *_) = store.find("parts", {"verdict": "fail"})
    assert set(part["scores"]) == set(part["calibrated"]) == set(models)
    assert part["regions"][0]["box"] == [8, 8, 8, 8]
    assert len(part["regions"][0]["polygon"]) % 2 == 0
    assert done.flagged == IMAGES - counts["pass"] == store.count("parts")
    assert reconcile(live.home, store, "tiny", DAY).documents == IMAGES
    (night,) = store.find("nights")
    assert night["reconciled"]
    assert [night[name] for name in ("pass", "fail", "review")] == [
        counts[name] for name in ("pass", "fail", "review")
    ]


def test_regions_learned_from_weak_masks_are_marked_in_the_documents(
    live: Tiny, store: ResultStore
) -> None:
    line = live.line.model_copy(update={"seed": 8})
    tiny_line.write_runs(live.home, line)
    name = run_name(line, tiny_line.DATASET, "segmenter", None)
    result = live.home.training("tiny", name) / "result.json"
    files.write_json(result, files.read_json(result) | {"facts": {"unmasked_defects": 3}})
    weak = replace(live, line=line).evaluate().name
    for bundle in (None, weak):
        _predict(live, plan_night(live.home, live.line, DAY, bundle))
        publish(live.home, store, "tiny", DAY)
        parts = store.find("parts", {"verdict": "fail"})
        found = {region["weak"] for part in parts for region in part["regions"]}
        assert found == {bundle == weak}


def test_a_repeated_shard_leaves_the_same_rows(live: Tiny) -> None:
    plan = plan_night(live.home, live.line, DAY)
    _predict(live, plan)
    before = _rows(live)
    _predict(live, plan, 3, 0, 3)
    assert _rows(live) == before


def test_rows_of_an_older_installation_stay_and_new_shards_join_them(
    live: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    added = {"p_classifier", "p_segmenter", "p_anomaly", "regions"}
    new = predicted.SCHEMA
    old = pa.schema([field for field in new if field.name not in added])
    past = dict.fromkeys(old.names) | {"day": "2026-01-04", "shard": 0, "verdict": "pass"}
    with monkeypatch.context() as patch:
        patch.setattr(predicted, "SCHEMA", old)
        rows = pa.Table.from_pylist([past | {"object": "old.png"}], schema=old)
        predicted.write_shard(live.home, "tiny", "2026-01-04", 0, rows)
    (before,) = predicted.read(live.home, "tiny").to_pylist()
    assert (before["object"], before["p_anomaly"]) == ("old.png", None)
    ensure_current(live.home)  # as each command does first
    plan = plan_night(live.home, live.line, DAY)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda shard: _predict(live, plan, shard), range(1, 5)))
    table = predicted.read(live.home, "tiny")
    assert table.schema.names == new.names
    assert table.to_pylist()[0] == before
    assert Counter(row["shard"] for row in _rows(live)) == dict.fromkeys(range(1, 5), 7)
    assert all(row["p_anomaly"] is not None for row in _rows(live))


def test_a_killed_shard_leaves_nothing_behind(live: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_night(live.home, live.line, DAY)
    _predict(live, plan, 0)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(predicted, "write_shard", killed)
        with pytest.raises(KeyboardInterrupt):
            _predict(live, plan, 1)
    assert {row["shard"] for row in _rows(live)} == {0}
    _predict(live, plan, 1)
    assert Counter(row["shard"] for row in _rows(live)) == {0: 7, 1: 7}


def test_without_a_champion_every_part_is_held(tiny: Tiny) -> None:
    plan = plan_night(tiny.home, tiny.line, DAY)
    assert plan.bundle == ""
    _predict(tiny, plan)
    assert {(row["verdict"], row["reason"]) for row in _rows(tiny)} == {
        ("review", "no champion bundle")
    }
    assert {row["p_defect"] for row in _rows(tiny)} == {None}
    assert len(_rows(tiny)) == IMAGES


def test_an_altered_champion_holds_every_part(live: Tiny) -> None:
    plan = plan_night(live.home, live.line, DAY)
    path = live.home.bundle(plan.bundle) / "card.json"
    path.write_bytes(path.read_bytes().replace(b'"pass_below": 0.01', b'"pass_below": 0.99'))
    _predict(live, plan, 0)
    assert {(row["verdict"], row["reason"]) for row in _rows(live)} == {
        ("review", "the bundle was refused")
    }


@pytest.mark.parametrize("lost", ["bundles/{}/SIGNATURE", "keys/trusted"])
def test_a_champion_that_nobody_vouches_for_holds_every_part(live: Tiny, lost: str) -> None:
    plan = plan_night(live.home, live.line, DAY)
    path = live.home.root / lost.format(plan.bundle)
    path.rename(live.home.root / "lost")
    _predict(live, plan, 0)
    assert {(row["verdict"], row["reason"]) for row in _rows(live)} == {
        ("review", "the bundle was refused")
    }


def test_broken_and_lost_images_are_held_and_the_rest_inspected(live: Tiny) -> None:
    plan = plan_night(live.home, live.line, DAY)
    first, second, *_ = catalog.read_images(live.home, "tiny", day=DAY).to_pylist()
    path = live.home.object(first["sha256"])
    path.write_bytes(path.read_bytes()[:-30])
    live.home.object(second["sha256"]).unlink()
    _predict(live, plan, 0)
    rows = {row["object"]: row for row in _rows(live)}
    assert rows[first["object"]]["reason"] == "the stored image was altered"
    assert rows[second["object"]]["reason"] == "the stored image cannot be read"
    assert rows[first["object"]]["verdict"] == rows[second["object"]]["verdict"] == "review"
    assert sum(row["p_defect"] is not None for row in rows.values()) == 5


def test_models_that_fail_hold_their_batch(live: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_night(live.home, live.line, DAY)

    def fail(*_: object) -> None:
        msg = "a node failed"
        raise RuntimeError(msg)

    monkeypatch.setattr(ModelSet, "run", fail)
    _predict(live, plan, 0)
    assert {(row["verdict"], row["reason"]) for row in _rows(live)} == {
        ("review", "the models failed")
    }


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_score_that_is_not_finite_holds_its_part_and_breaks_no_document(
    live: Tiny, store: ResultStore, monkeypatch: pytest.MonkeyPatch, score: float
) -> None:
    honest = ModelSet.read

    def broken(self: ModelSet, outputs: Outputs) -> list[Scored]:
        found = honest(self, outputs)
        return [replace(one, scores=one.scores | {"anomaly": score}) for one in found]

    monkeypatch.setattr(ModelSet, "read", broken)
    plan = plan_night(live.home, live.line, DAY)
    _predict(live, plan, 0)
    assert {(row["verdict"], row["reason"], row["score_anomaly"]) for row in _rows(live)} == {
        ("review", "no score from the anomaly", None)
    }
    publish(live.home, store, "tiny", DAY)
    assert len(store.find("parts", {"line": "tiny", "verdict": "review"})) == 7


def test_the_bundle_is_fixed_when_the_night_begins(live: Tiny) -> None:
    plan = plan_night(live.home, live.line, DAY)
    files.write_json(live.home.live("tiny"), {"bundle": "another", "number": 2})
    assert read_plan(live.home, live.line, DAY).bundle == plan.bundle
    assert plan_night(live.home, live.line, DAY).bundle == "another"


def test_publishing_twice_leaves_the_same_documents_and_ledger(
    live: Tiny, store: ResultStore
) -> None:
    _predict(live, plan_night(live.home, live.line, DAY))
    publish(live.home, store, "tiny", DAY)
    reconcile(live.home, store, "tiny", DAY)
    before, chain = _documents(store), live.home.ledger("tiny", DAY).read_bytes()
    publish(live.home, store, "tiny", DAY)
    assert _documents(store) == before
    assert live.home.ledger("tiny", DAY).read_bytes() == chain
    assert ledger.verify(live.home.ledger("tiny", DAY)) == 9


def test_a_night_that_changes_back_ends_the_ledger_with_what_holds(
    live: Tiny, store: ResultStore
) -> None:
    plan = plan_night(live.home, live.line, DAY)
    for bundle in (plan.bundle, "", plan.bundle):
        _predict(live, replace(plan, bundle=bundle), 0)
        publish(live.home, store, "tiny", DAY)
    found = ledger.entries(live.home.ledger("tiny", DAY))
    assert [entry["bundle"] for entry in found] == [plan.bundle, "", plan.bundle]


def test_a_second_run_of_a_day_deletes_what_no_longer_holds(live: Tiny, store: ResultStore) -> None:
    none = plan_night(live.home, live.line, DAY)
    _predict(live, replace(none, bundle=""))
    assert publish(live.home, store, "tiny", DAY).flagged == IMAGES
    larger = live.line.model_copy(
        update={"night": live.line.night.model_copy(update={"shard_images": 40})}
    )
    _predict(live, plan_night(live.home, larger, DAY))
    flagged = publish(live.home, store, "tiny", DAY).flagged
    assert store.count("parts") == flagged < IMAGES / 2
    assert store.count("shards") == 2
    assert reconcile(live.home, store, "tiny", DAY).predictions == IMAGES


def test_a_missing_row_is_named_and_the_night_is_not_reconciled(
    live: Tiny, store: ResultStore
) -> None:
    plan = plan_night(live.home, live.line, DAY)
    _predict(live, plan, *range(8))
    publish(live.home, store, "tiny", DAY)
    with pytest.raises(CountError, match=r"4 without a prediction: 056\.png, 057\.png"):
        reconcile(live.home, store, "tiny", DAY)
    assert store.find("nights")[0]["reconciled"] is False
    _predict(live, plan, 8)
    with pytest.raises(CountError, match="the night's document"):
        reconcile(live.home, store, "tiny", DAY)
    publish(live.home, store, "tiny", DAY)
    reconcile(live.home, store, "tiny", DAY)


def test_a_lost_part_document_is_noticed(live: Tiny, store: ResultStore) -> None:
    _predict(live, plan_night(live.home, live.line, DAY))
    publish(live.home, store, "tiny", DAY)
    store.delete("parts", [store.find("parts")[0]["id"]])
    with pytest.raises(CountError, match="parts not passed"):
        reconcile(live.home, store, "tiny", DAY)


def test_a_day_without_images_is_a_night_without_shards(live: Tiny, store: ResultStore) -> None:
    quiet = "2026-02-01"
    assert plan_night(live.home, live.line, quiet).sizes == ()
    assert publish(live.home, store, "tiny", quiet).flagged == 0
    assert reconcile(live.home, store, "tiny", quiet).images == 0
    with pytest.raises(DataError, match="no shard 0"):
        predict_shards(live.home, read_plan(live.home, live.line, quiet), [0], 3, 1)


def test_a_stored_file_that_is_no_image_is_held_with_its_reason(live: Tiny) -> None:
    (row, *_) = catalog.read_images(live.home, "tiny", day=DAY).to_pylist()
    row |= {"object": "000-text", "sha256": tiny_line.store(live.home, b"no image")}
    catalog.upsert_images(live.home, "tiny", pa.Table.from_pylist([row], catalog.IMAGES))
    _predict(live, plan_night(live.home, live.line, DAY))
    found = {row["object"]: row for row in _rows(live)}["000-text"]
    assert (found["verdict"], found["reason"]) == ("review", "not_an_image")


def test_a_night_of_two_bundles_is_not_reconciled(live: Tiny, store: ResultStore) -> None:
    plan = plan_night(live.home, live.line, DAY)
    _predict(live, plan)
    later = replace(plan, bundle="b" * 64)
    _predict(live, later, 1)
    publish(live.home, store, "tiny", DAY)
    with pytest.raises(CountError, match=r"shard 1: \d+ predictions of bundle b+; the night's is"):
        reconcile(live.home, store, "tiny", DAY)
    _predict(live, plan, 1)
    publish(live.home, store, "tiny", DAY)
    assert reconcile(live.home, store, "tiny", DAY).predictions == IMAGES


def test_a_second_publish_that_is_cut_off_no_longer_counts_as_reconciled(
    live: Tiny, store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_night(live.home, live.line, DAY)
    _predict(live, plan)
    publish(live.home, store, "tiny", DAY)
    reconcile(live.home, store, "tiny", DAY)
    (before,) = store.find("nights")
    assert before["reconciled"]
    _predict(live, replace(plan, bundle="b" * 64), 1)

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ml.inference.publish._replace", cut)
        with pytest.raises(KeyboardInterrupt):
            publish(live.home, store, "tiny", DAY)
    kept: list[dict[str, Any]] = []
    monkeypatch.setattr(store, "put", lambda _, documents: kept.extend(documents.values()))
    assert store.find("nights") == [before | {"reconciled": False}]
    with monkeypatch.context() as patch:
        patch.setattr("ml.inference.publish._replace", cut)
        with pytest.raises(KeyboardInterrupt):
            publish(live.home, store, "tiny", DAY)
    assert kept
    assert all("id" not in body for body in kept)
