"""What is read of the tables."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from ml.data import catalog, delta, predicted
from ml.errors import StorageError
from ml.settings import Home

DAYS = ("2026-03-01", "2026-03-02", "2026-03-03")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Three days of two images each, ingested one after the other."""
    made = Home(tmp_path)
    for day in DAYS:
        rows = [
            {"object": f"{name}{day}", "version": "1", "status": "accepted", "day": day}
            for name in "ba"
        ]
        catalog.upsert_images(made, "plant", pa.Table.from_pylist(rows, schema=catalog.IMAGES))
    return made


def test_images_of_a_day_are_read_from_the_files_of_that_day_alone(home):
    table = DeltaTable(str(home.table("plant", "images")))
    files = table.to_pyarrow_dataset().files
    mine = table.to_pyarrow_dataset(file_pruning_predicate=[("day", "=", DAYS[1])]).files
    assert (len(files), len(mine)) == (3, 1)
    for path in set(files) - set(mine):
        (home.table("plant", "images") / path).unlink()
    images = catalog.read_images(home, "plant", day=DAYS[1], columns=["object", "day"])
    assert images.to_pylist() == [{"object": f"{name}{DAYS[1]}", "day": DAYS[1]} for name in "ab"]


def test_images_until_a_day_are_those_of_all_days_up_to_it(home):
    images = catalog.read_images(home, "plant", until=DAYS[1], columns=["day"])
    assert images["day"].to_pylist() == [DAYS[0], DAYS[1]] * 2


def _files(home: Home, name: str = "images") -> set[str]:
    return set(DeltaTable(str(home.table("plant", name))).file_uris())


def _image(name: str, day: str, **more: str) -> pa.Table:
    row = {"object": name, "version": "1", "status": "accepted", "day": day} | more
    return pa.Table.from_pylist([row], schema=catalog.IMAGES)


def test_a_write_opens_the_files_of_the_days_that_it_changes_alone(home):
    before = _files(home)
    catalog.upsert_images(home, "plant", _image("new", DAYS[0]))
    assert before < _files(home)  # nothing to replace: one file more
    moved = pa.concat_tables([_image(f"a{DAYS[1]}", DAYS[2], reason="x"), _image("n", DAYS[1])])
    before = _files(home)
    catalog.upsert_images(home, "plant", moved)
    assert len(before - _files(home)) == 1
    images = catalog.read_images(home, "plant", columns=["object", "day", "reason"])
    assert images.num_rows == 3 * 2 + 2
    assert {"object": f"a{DAYS[1]}", "day": DAYS[2], "reason": "x"} in images.to_pylist()
    assert catalog.version(home, "plant", "images") == 5


def test_an_image_without_a_day_is_replaced_too(home):
    rows = _image("odd", "").set_column(
        catalog.IMAGES.names.index("day"), catalog.IMAGES.field("day"), pa.nulls(1, pa.string())
    )
    for _ in range(2):
        catalog.upsert_images(home, "plant", rows)
    assert catalog.read_images(home, "plant", status=None).num_rows == 3 * 2 + 1


def test_small_files_are_put_together_and_old_versions_stay(home):
    names = [f"{number:03d}" for number in range(delta._MOST_SMALL + 5)]
    for name in names:
        catalog.upsert_images(home, "plant", _image(name, DAYS[0]))
    assert len(_files(home)) < 10
    assert catalog.read_images(home, "plant").num_rows == len(names) + 6
    assert catalog.read_images(home, "plant", version=10).num_rows == 10 + 3


def test_the_files_of_a_night_are_put_together_and_a_shard_is_still_replaced_alone(home):
    def predict(day: str, shard: int, verdict: str) -> None:
        rows = [{"day": day, "shard": shard, "object": name, "verdict": verdict} for name in "ab"]
        table = pa.Table.from_pylist(rows, schema=predicted.SCHEMA)
        predicted.write_shard(home, "plant", day, shard, table)

    for shard in range(12):
        predict(DAYS[0], shard, "pass")
    predict(DAYS[1], 0, "pass")
    before, rows = _files(home, "predictions"), predicted.read(home, "plant")
    predicted.pack_day(home, "plant", DAYS[1])  # it has but one file
    assert _files(home, "predictions") == before
    predicted.pack_day(home, "plant", DAYS[0])
    assert len(_files(home, "predictions")) == 2
    assert predicted.read(home, "plant").equals(rows)

    predict(DAYS[0], 5, "fail")
    verdicts = predicted.read(home, "plant", day=DAYS[0]).select(["shard", "verdict"])
    failed = verdicts.filter(pc.field("verdict") == "fail")
    assert failed["shard"].to_pylist() == [5, 5]
    assert sum(predicted.count_by_shard(home, "plant", DAYS[0]).values()) == 24


def test_labels_that_stand_make_no_new_version(home):
    label = {"sha256": "s", "label": "ok", "defect_type": "", "mask": "", "by": "", "at": ""}
    rows = [label | {"source": source} for source in ("layout", "review")]

    def write() -> int:
        catalog.upsert_labels(home, "plant", pa.Table.from_pylist(rows, schema=catalog.LABELS))
        return catalog.version(home, "plant", "labels")

    assert write() == write()
    rows[1] = rows[1] | {"label": "defect", "by": "B"}
    assert write() == 2
    assert catalog.read_labels(home, "plant")["s"]["by"] == "B"
    assert catalog.read_labels(home, "plant", of=pa.array(["t"])) == {}
    assert catalog.labelled(home, "plant", pa.array(["s", "t"])).to_pylist() == ["s"]


def test_images_are_found_by_name_and_by_bytes(home):
    catalog.upsert_images(home, "plant", _image("z", DAYS[0], sha256="s", status="quarantined"))
    names, hashes = pa.array([f"b{DAYS[2]}", "none"]), pa.array(["s"])
    found = catalog.read_images_of(
        home, "plant", ["object", "version"], objects=names, sha256=hashes
    )
    assert found["object"].to_pylist() == [f"b{DAYS[2]}", "z"]
    found = catalog.read_images_of(home, "plant", ["object", "version"], sha256=hashes, day=DAYS[1])
    assert not found.num_rows


def test_the_newest_batches_are_counted_and_how_many_there_are(tmp_path):
    home = Home(tmp_path)
    assert catalog.count_batches(home, "plant", 2) == (0, [])
    for number, day in enumerate((DAYS[0], DAYS[2], DAYS[1], DAYS[2])):
        rows = [
            _image(f"n{number}", DAYS[0], batch=f"b{number}"),
            _image(f"q{number}", day, batch=f"b{number}", status="dropped", reason="x"),
        ]
        catalog.upsert_images(home, "plant", pa.concat_tables(rows))
    span = {"first": DAYS[0], "last": DAYS[2], "statuses": {"accepted": 1, "dropped": 1}}
    newest = [{"batch": "b3"} | span, {"batch": "b1"} | span]
    assert catalog.count_batches(home, "plant", 2) == (4, newest)
    assert sorted(catalog.count_reasons(home, "plant"), key=str) == [
        {"status": "accepted", "reason": None, "n": 4},
        {"status": "dropped", "reason": "x", "n": 4},
    ]
    assert catalog.batches_among(home, "plant", {"b0", "b2", "b9"}, version=1) == {"b0"}


def test_a_write_that_loses_every_race_may_be_tried_again(home, monkeypatch):
    monkeypatch.setattr(delta.time, "sleep", lambda _: None)
    path = home.table("plant", "images")

    def replace_after_another_did(table):
        DeltaTable(str(path)).update({"reason": "'other'"})
        table.update({"reason": "'own'"})

    with pytest.raises(StorageError, match=r"images: other writers .* 8 times; run") as told:
        delta.commit(path, replace_after_another_did)
    assert told.value.temporary


def test_a_table_that_another_process_makes_in_the_same_moment_is_taken_as_it_is(
    tmp_path, monkeypatch
):
    make = DeltaTable.create

    def after_another(*args, **options):
        make(*args, **options)
        raise CommitFailedError("Protocol changed since last commit: protocol changed")

    monkeypatch.setattr(DeltaTable, "create", after_another)
    delta.create(tmp_path / "new", predicted.SCHEMA, partition_by=["day"])
    assert delta.open_table(tmp_path / "new").version() == 0
