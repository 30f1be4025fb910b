"""Nothing is lost between listing and catalog, no crashed check accepts, no label is dropped."""

import hashlib
import logging
import os
from datetime import UTC, datetime

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.data import catalog, ingest
from ml.data import validate as validation
from ml.data.dataset import load_dataset
from ml.data.decide import REPLACED, Past, decide, row_key, settled
from ml.data.snapshot import snapshot
from ml.data.suite import Expectation
from ml.data.validate import validate
from ml.errors import CountError, DataError
from tests.data.conftest import Plant


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


def test_the_table_is_never_read_whole_and_the_page_says_what_it_has_now(
    plant, monkeypatch
) -> None:
    plant.write("ok/zcopy.png", (plant.source / "ok/part0.png").read_bytes())
    plant.run()
    plant.picture("ok/part0.png", 77)
    read, whole = catalog.read_images, []

    def counted(*where, **what):
        if not {"day", "batch"} & what.keys():
            whole.append(what)
        return read(*where, **what)

    new = plant.ingest().name
    monkeypatch.setattr(catalog, "read_images", counted)
    validate(plant.home, plant.line, new)
    assert not whole
    page = plant.home.reports("plant") / "validate" / "index.html"
    before = page.read_bytes()
    validation.write_docs(plant.home, plant.line)
    assert page.read_bytes() == before


def test_a_copy_that_takes_the_place_of_a_row_of_the_same_batch_is_counted_once(plant) -> None:
    plant.write("ok/zcopy.png", (plant.source / "ok/part0.png").read_bytes())
    first = plant.ingest().name
    plant.picture("ok/part0.png", 77)
    second = plant.ingest().name
    assert validate(plant.home, plant.line, first).duplicate == 1
    outcome = validate(plant.home, plant.line, second)
    assert (outcome.accepted, outcome.duplicate) == (7, 0)


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
    assert catalog.read_images(plant.home, "plant").num_rows == 10
    assert catalog.read_images(plant.home, "plant", status=None).num_rows == 11


def test_the_newest_bytes_stay_when_an_older_batch_is_validated_late(plant) -> None:
    old = plant.ingest().name
    plant.picture("ok/part0.png", 77)
    plant.run()
    validate(plant.home, plant.line, old)
    newest = hashlib.sha256((plant.source / "ok/part0.png").read_bytes()).hexdigest()
    rows = catalog.read_images(plant.home, "plant", status=None).to_pylist()
    (first, second) = [row for row in rows if row["object"] == "ok/part0.png"]
    assert {first["status"], second["status"]} == {"accepted", "replaced"}
    assert next(r for r in (first, second) if r["status"] == "accepted")["sha256"] == newest
    assert len(catalog.read_labels(plant.home, "plant")) == 7


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "not validated before"])
def test_a_version_that_comes_back_is_the_newest(plant, monkeypatch, is_known) -> None:
    first = plant.source / "ok/part0.png"
    content, stat = first.read_bytes(), first.stat()
    old = plant.ingest().name
    if is_known:
        validate(plant.home, plant.line, old)
    plant.picture("ok/part0.png", 77)
    plant.run()
    first.write_bytes(content)
    os.utime(first, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    monkeypatch.setattr(ingest, "utc_now", lambda: datetime(2020, 1, 1, tzinfo=UTC))  # set back
    validate(plant.home, plant.line, plant.ingest().name)
    assert validate(plant.home, plant.line, old).accepted == 6
    rows = catalog.read_images(plant.home, "plant", status=["accepted"]).to_pylist()
    (row,) = [row for row in rows if row["object"] == "ok/part0.png"]
    assert row["sha256"] == hashlib.sha256(content).hexdigest()
    assert plant.ingest().new == 0


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "not validated before"])
def test_an_old_batch_does_not_win_as_the_newer_ones_file_is_gone(plant: Plant, is_known) -> None:
    first = plant.source / "ok/part0.png"
    content, stat = first.read_bytes(), first.stat()
    old = plant.ingest().name
    if is_known:
        validate(plant.home, plant.line, old)
    newest = plant.picture("ok/part0.png", 77).read_bytes()
    new = plant.ingest().name
    validate(plant.home, plant.line, new)
    plant.home.staging("plant", new).unlink()
    validate(plant.home, plant.line, old)
    assert _accepted_of(plant, "ok/part0.png") == hashlib.sha256(newest).hexdigest()
    # That the source has it again is another matter.
    first.write_bytes(content)
    os.utime(first, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    plant.run()
    assert _accepted_of(plant, "ok/part0.png") == hashlib.sha256(content).hexdigest()
    assert plant.ingest().new == 0


def _accepted_of(plant: Plant, name: str) -> str:
    """The SHA-256 of the accepted version of an object."""
    rows = catalog.read_images(plant.home, "plant", status=["accepted"]).to_pylist()
    (row,) = [row for row in rows if row["object"] == name]
    return str(row["sha256"])


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
    row = {"object": name, "version": version, "sha256": sha256, "label": label, "batch": "b"}
    return row | {"defect_type": defect_type, "mask": "", "day": "d", "captured_at": None}


def _past(*rows, labels=()):
    """A catalog with these accepted rows, or whatever status they have."""
    whole = [{"status": "accepted", "reason": ""} | row for row in rows]
    return Past(whole, {row["sha256"]: row for row in labels or rows})


def _statuses(rows):
    return [(row["object"], row["version"], row["status"]) for row in rows]


def test_within_a_batch_the_later_of_two_contradictory_labels_is_quarantined() -> None:
    staged = [_row("a", "s"), _row("b", "s", "pit"), _row("c", "s")]
    found = decide(staged, {}, _past(), "x")
    assert [row["status"] for row in found.rows] == ["accepted", "quarantined", "duplicate"]
    assert [label["label"] for label in found.labels] == ["ok"]


def test_a_duplicate_gives_its_label_to_an_image_that_had_none() -> None:
    found = decide([_row("a", "s", ""), _row("b", "s", "pit")], {}, _past(), "x")
    assert [row["status"] for row in found.rows] == ["accepted", "duplicate"]
    assert [label["defect_type"] for label in found.labels] == ["pit"]


def test_a_quarantined_copy_contradicts_nothing() -> None:
    found = decide([_row("a", "s", "pit"), _row("b", "s")], {0: "contrast"}, _past(), "x")
    assert [row["status"] for row in found.rows] == ["quarantined", "accepted"]


@pytest.mark.parametrize(
    ("sha256", "failed", "expected"),
    [
        ("new", {}, [("a", "1", "replaced")]),
        ("old", {}, []),
        ("new", {0: "contrast"}, []),
    ],
    ids=["other bytes", "touched only", "bad new version"],
)
def test_an_older_version_is_replaced_by_other_good_bytes_only(sha256, failed, expected) -> None:
    past = _past(_row("a", "old"))
    found = decide([_row("a", sha256, version="2")], failed, past, "x")
    assert _statuses(found.changed) == expected


def test_files_renamed_by_one_keep_all_their_contents() -> None:
    past = _past(_row("a", "A"), _row("b", "B", "pit"), _row("c", "C"))
    staged = [_row("b", "A", version="2"), _row("c", "B", "pit", version="2"), _row("d", "C")]
    found = decide(staged, {}, past, "x")
    assert [row["status"] for row in found.rows] == ["duplicate", "accepted", "accepted"]
    assert _statuses(found.changed) == [("b", "1", "replaced"), ("c", "1", "replaced")]


def test_the_copy_of_a_replaced_file_takes_its_place() -> None:
    copy = _row("z", "old") | {"status": "duplicate", "reason": "same bytes"}
    past = _past(_row("a", "old"), copy)
    found = decide([_row("a", "new", version="2")], {}, past, "x")
    assert _statuses(found.changed) == [("a", "1", "replaced"), ("z", "1", "accepted")]


def test_a_copy_that_is_itself_replaced_does_not_come_back() -> None:
    copy = _row("z", "old") | {"status": "duplicate", "reason": "same bytes"}
    first = decide([_row("z", "other", version="2")], {}, _past(_row("a", "old"), copy), "x")
    assert _statuses(first.changed) == [("z", "1", "duplicate")]
    past = _past(_row("a", "old"), *first.changed)
    second = decide([_row("a", "new", version="2")], {}, past, "y")
    assert _statuses(second.changed) == [("a", "1", "replaced")]


def _back():
    """A version that is back, and a catalog in which another one had replaced it."""
    old = _row("a", "old") | {"status": "replaced", "reason": REPLACED, "day": "d1"}
    new = _row("a", "new", version="2") | {"status": "accepted", "reason": "", "day": "d2"}
    return _row("a", "old") | {"day": "d5"}, [old, new]


def test_a_version_that_is_back_keeps_its_day() -> None:
    row, images = _back()
    found = decide([row], {}, Past.read(images, {}, {"b"}), "y")
    assert [(row["status"], row["day"]) for row in found.rows] == [("accepted", "d1")]
    assert _statuses(found.changed) == [("a", "2", "replaced")]


def test_a_version_that_is_back_but_fails_a_check_now_stays_usable_until_a_replay() -> None:
    row, images = _back()
    found = decide([row], {0: "contrast"}, Past.read(images, {}, {"b"}), "y")
    assert [(row["status"], row["reason"]) for row in found.rows] == [("replaced", "contrast")]
    assert found.changed == []
    past = Past.read([*found.rows, images[1]], {}, "by")
    assert row_key(row) in settled(past, [row])
    assert row_key(row) not in settled(past, [row], is_replay=True)
    (again,) = decide([row], {}, past, "z").rows
    assert (again["status"], again["day"]) == ("accepted", "d1")


def test_a_copy_that_is_back_stays_usable_and_takes_the_place_of_the_other() -> None:
    row, images = _back()
    other = _row("z", "old") | {"status": "accepted", "reason": ""}
    (found,) = decide([row], {}, Past.read([*images, other], {}, {"b"}), "y").rows
    assert (found["status"], found["day"]) == ("replaced", "d1")
    past = Past.read(
        [found, images[1] | {"status": "replaced", "reason": REPLACED}, other], {}, "by"
    )
    after = decide([_row("z", "third", version="2")], {}, past, "w")
    assert _statuses(after.changed) == [("z", "1", "replaced"), ("a", "1", "accepted")]


def test_a_label_of_copies_that_are_all_gone_gives_way_to_one_other() -> None:
    copies = [_row("a", "s"), _row("b", "s", version="2")]
    images = [
        row | {"status": status, "reason": ""}
        for row, status in zip(copies, ("accepted", "duplicate"), strict=True)
    ]
    labels = {"s": copies[0]}
    staged = [_row("c", "s", "pit"), _row("d", "s", "scratch")]
    found = decide(staged, {}, Past.read(images, labels, {"b"}, {("a", "1")}), "y")
    assert [row["reason"] for row in found.rows] == ["label_conflict"] * 2
    found = decide(staged, {}, Past.read(images, labels, {"b"}, {("a", "1"), ("b", "2")}), "y")
    assert [row["status"] for row in found.rows] == ["duplicate", "quarantined"]
    assert [label["defect_type"] for label in found.labels] == ["pit"]


names = st.sampled_from("abc")
contents = st.sampled_from(["A", "B", "C"])


batches = st.lists(st.dictionaries(names, contents, min_size=1), max_size=6)
shuffled = st.randoms(use_true_random=False)
Table = dict[tuple[str, str], dict[str, str]]


def _validate(table: Table, staged: list[dict[str, str]], number: int) -> None:
    """Batch `number`, into a table, twice: the second time as a retry.

    What a night may have stays usable and on its day.
    """
    staged = [row | {"day": str(number)} for row in staged]
    usable = {key: row["day"] for key, row in table.items() if row["status"] in catalog.USABLE}
    earlier = {str(n) for n in range(number)}
    for _ in range(2):
        rows, before = list(table.values()), dict(table)
        past = Past.read(rows, {}, earlier)
        done = settled(past, staged)
        left = [row for row in staged if row_key(row) not in done]
        found = decide(left, {}, past, str(number))
        table |= {row_key(row): row for row in [*found.changed, *found.rows]}
    assert table == before
    assert all(table[key]["status"] in catalog.USABLE for key in usable)
    assert {key: table[key]["day"] for key in usable} == usable


def _accepted(table: Table) -> list[str]:
    return sorted(row["sha256"] for row in table.values() if row["status"] == "accepted")


@given(batches, shuffled)
def test_every_present_content_is_accepted_once_in_whatever_order(batches, random) -> None:
    """Each batch says which objects have which content from now on, as a new version."""
    table: Table = {}
    validated: list[int] = []
    for number in random.sample(range(len(batches)), len(batches)):
        batch = sorted(batches[number].items())
        staged = [_row(name, content, version=str(number)) for name, content in batch]
        _validate(table, staged, number)
        validated.append(number)
        present: dict[str, str] = {}
        for one in sorted(validated):
            present |= batches[one]
        assert _accepted(table) == sorted(set(present.values()))


@given(batches, shuffled)
def test_an_ingest_takes_versions_that_came_back_whatever_was_before(batches, random) -> None:
    """A version is its content, as in a bucket, so the same one may come again."""
    table: Table = {}
    for number in random.sample(range(len(batches)), len(batches)):
        batch = sorted(batches[number].items())
        staged = [_row(name, content, version=content) for name, content in batch]
        _validate(table, staged, number)
    present: dict[str, str] = {}
    for batch in batches:
        present |= batch
    known = {key for key, row in table.items() if row["reason"] != REPLACED}
    listed = [_row(name, content, version=content) for name, content in sorted(present.items())]
    _validate(table, [row for row in listed if row_key(row) not in known], len(batches))
    assert _accepted(table) == sorted(set(present.values()))
    assert all(table[row_key(row)]["reason"] != REPLACED for row in listed)


def test_a_copy_says_whether_it_is_of_another_part(plant: Plant) -> None:
    content = (plant.source / "ok/part0.png").read_bytes()
    plant.write("ok/again/part0.png", content)
    plant.write("ok/zcopy.png", content)
    plant.run()
    rows = catalog.read_images(plant.home, "plant", status=["duplicate"]).to_pylist()
    assert [row["part"] for row in rows] == ["part0", "zcopy"]
    (accepted,) = {"ok/again/part0.png", "ok/part0.png"} - {row["object"] for row in rows}
    # Of this line a part is but the name of its file, which tells nothing.
    assert [row["reason"] for row in rows] == [f"same bytes as {accepted}"] * 2


def test_a_broken_version_waits_for_people_until_a_newer_one_is_good(plant: Plant) -> None:
    old = plant.ingest().name
    plant.write("ok/part0.png", b"no image")
    plant.run()
    # The version before is no news of what the part looks like now.
    validate(plant.home, plant.line, old)
    assert _statuses_of(plant, "ok/part0.png") == ["accepted", "quarantined"]
    plant.picture("ok/part0.png", 77)
    plant.run()
    assert _statuses_of(plant, "ok/part0.png") == ["accepted", "dropped", "replaced"]


def _statuses_of(plant: Plant, key: str) -> list[str]:
    rows = catalog.read_images(plant.home, "plant", status=None).to_pylist()
    return sorted(row["status"] for row in rows if row["object"] == key)
