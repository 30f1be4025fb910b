"""Nothing is lost between listing and catalog, no crashed check accepts, no label is dropped."""

import hashlib
import logging

import pyarrow.parquet as pq
import pytest
from conftest import Plant

from ml.data import catalog
from ml.data import validate as validation
from ml.data.dataset import load_dataset
from ml.data.decide import Past, decide, labels_of, replaced
from ml.data.snapshot import snapshot
from ml.data.validate import Expectation, validate
from ml.errors import CountError, DataError


def test_a_row_lost_from_the_staging_is_missed(plant: Plant) -> None:
    batch = plant.ingest().name
    path = plant.home.staging("plant", batch)
    pq.write_table(pq.read_table(path)[1:], path)
    with pytest.raises(CountError, match="6 listed, but the catalog has 5 accepted"):
        validate(plant.home, plant.line, batch)
    assert plant.run().accepted == 1


def test_a_row_lost_on_the_way_to_the_catalog_is_missed(plant: Plant, monkeypatch) -> None:
    write = catalog.upsert_images
    monkeypatch.setattr(
        catalog, "upsert_images", lambda home, line, rows: write(home, line, rows[1:])
    )
    with pytest.raises(CountError, match="6 listed, but the catalog has 5 accepted"):
        plant.run()


@pytest.mark.parametrize("column", ["no_such_column", "problem"])
def test_a_check_that_crashes_accepts_nothing(plant: Plant, monkeypatch, column) -> None:
    # Text cannot be compared with a number, and a missing column with nothing.
    broken = Expectation(
        "odd", "expect_column_values_to_be_between", {"column": column, "min_value": 1}
    )
    monkeypatch.setattr(validation, "suite", lambda checks: [broken])
    with pytest.raises(DataError, match=f"'column': '{column}'.* could not be made"):
        plant.run()
    assert catalog.read_images(plant.home, "plant", status=None).num_rows == 0


def test_a_dataset_has_only_the_latest_version_of_a_replaced_file(plant: Plant) -> None:
    for seed in range(10, 14):
        plant.picture(f"ok/part{seed}.png", seed)
    first = plant.ingest().name
    validate(plant.home, plant.line, first)
    plant.picture("ok/part0.png", 77)
    assert plant.run().accepted == 1
    assert validate(plant.home, plant.line, first).accepted == 10  # A retry of the first.
    made = snapshot(plant.home, plant.line, None)
    assert made.images == 10
    latest = hashlib.sha256((plant.source / "ok/part0.png").read_bytes()).hexdigest()
    samples = load_dataset(plant.home, "plant", made.dataset).samples
    assert [one.sha256 for one in samples if one.part == "part0"] == [latest]
    assert catalog.read_images(plant.home, "plant").num_rows == 11


def test_contradictory_labels_of_equal_bytes_are_reported(plant: Plant, caplog) -> None:
    plant.run()
    plant.write("scratch/zcopy.png", (plant.source / "ok/part0.png").read_bytes())
    with caplog.at_level(logging.WARNING):
        outcome = plant.run()
    assert outcome.reasons == {"label_conflict": 1}
    assert "scratch/zcopy.png is scratch, but ok/part0.png, the same bytes, is ok" in caplog.text
    assert "label_conflict" in outcome.report.read_text()


def _row(name: str, sha256: str, kind: str = "ok", version: str = "1"):
    label = {"": "", "ok": "ok"}.get(kind, "defect")
    defect_type = kind if label == "defect" else ""
    row = {"object": name, "version": version, "sha256": sha256, "label": label}
    return row | {"defect_type": defect_type, "mask": ""}


NOTHING = Past([], {}, {})


def _statuses(rows):
    return [row["status"] for row in rows]


def test_within_a_batch_the_later_of_two_contradictory_labels_is_quarantined() -> None:
    rows = decide([_row("a", "s"), _row("b", "s", "pit"), _row("c", "s")], {}, NOTHING, "x")
    assert _statuses(rows) == ["accepted", "quarantined", "duplicate"]
    assert [label["label"] for label in labels_of(rows, NOTHING)] == ["ok"]


def test_a_duplicate_gives_its_label_to_an_image_that_had_none() -> None:
    rows = decide([_row("a", "s", ""), _row("b", "s", "pit")], {}, NOTHING, "x")
    assert _statuses(rows) == ["accepted", "duplicate"]
    assert [label["defect_type"] for label in labels_of(rows, NOTHING)] == ["pit"]


def test_a_quarantined_copy_contradicts_nothing() -> None:
    rows = decide([_row("a", "s", "pit"), _row("b", "s")], {0: "contrast"}, NOTHING, "x")
    assert _statuses(rows) == ["quarantined", "accepted"]


@pytest.mark.parametrize(
    ("sha256", "failed", "expected"),
    [("new", {}, ["replaced"]), ("old", {}, []), ("new", {0: "contrast"}, [])],
    ids=["other bytes", "touched only", "bad new version"],
)
def test_an_older_version_is_replaced_by_other_good_bytes_only(sha256, failed, expected) -> None:
    old = _row("a", "old") | {"status": "accepted", "reason": ""}
    past = Past([old], {"old": "ok"}, {})
    rows = decide([_row("a", sha256, version="2")], failed, past, "x")
    assert _statuses(replaced(rows, past)) == expected
