"""What a power cut leaves of the tables: an error that names it; a repair says what to do."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from ml import files
from ml.data import delta, predicted
from ml.data.damage import told
from ml.data.repair import repair
from ml.errors import DataError

DAYS = ("2026-03-01", "2026-03-02")
AT = datetime(2026, 3, 1, 6, tzinfo=UTC)


def predict(home, day: str, shard: int = 0) -> None:
    row = {"day": day, "shard": shard, "object": f"{day}{shard}", "sha256": day, "verdict": "pass"}
    rows = pa.Table.from_pylist([row], schema=predicted.SCHEMA)
    predicted.write_shard(home, "plant", day, shard, rows)


def data_files(path: Path) -> list[Path]:
    return [Path(uri.removeprefix("file://")) for uri in DeltaTable(str(path)).file_uris()]


def last_commit(path: Path) -> Path:
    return max((path / "_delta_log").glob("*.json"))


def spoil(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "missing":
        path.unlink()
    else:
        left = {"empty": b"", "cut": content[:-9], "zeros": bytes(len(content))}
        path.write_bytes(left[how])


@pytest.mark.parametrize("how", ["missing", "empty", "cut", "zeros"])
def test_a_damaged_file_of_a_day_is_named_and_the_day_can_be_predicted_again(plant, how):
    for day in DAYS:
        predict(plant.home, day)
    path = plant.home.table("plant", "predictions")
    [file] = [one for one in data_files(path) if DAYS[0] in str(one)]
    spoil(file, how)
    with pytest.raises(DataError, match=f"(?s){file}.*loupe catalog repair --line plant"):
        predicted.read(plant.home, "plant", day=DAYS[0])
    with pytest.raises(DataError, match=str(file)):
        predict(plant.home, DAYS[0])
    assert predicted.read(plant.home, "plant", day=DAYS[1]).num_rows == 1
    done = repair(plant.home, "plant")
    assert (done.files, done.days) == ({"predictions": [str(file)]}, [DAYS[0]])
    assert done.run[0] == f"loupe predict --line plant --day {DAYS[0]}"
    assert predicted.read(plant.home, "plant")["day"].to_pylist() == [DAYS[1]]
    predict(plant.home, DAYS[0])
    assert predicted.read(plant.home, "plant").num_rows == 2
    assert repair(plant.home, "plant").files == {}


def test_images_whose_file_is_gone_come_in_again(plant):
    assert plant.run().accepted == 6
    [file] = data_files(plant.home.table("plant", "images"))
    file.unlink()
    with pytest.raises(DataError, match=f"(?s){file}.*repair"):
        plant.ingest()
    done = repair(plant.home, "plant")
    assert (done.files, done.days) == ({"images": [str(file)]}, [])
    assert done.run[0] == "loupe ingest --line plant --full"
    assert plant.run().accepted == 6


@pytest.mark.parametrize("left", [0.0, 0.5])
def test_a_last_commit_that_was_cut_is_taken_back(plant, left):
    plant.run()
    plant.picture("ok/later.png", 90)
    plant.run()
    commit = last_commit(plant.home.table("plant", "images"))
    content = commit.read_bytes()
    commit.write_bytes(content[: int(len(content) * left)])
    if left:
        with pytest.raises(DataError, match=f"(?s){commit}.*repair"):
            plant.ingest()
    assert repair(plant.home, "plant").files == {"images": [str(commit)]}
    assert plant.run().accepted == 1


def test_a_table_whose_files_are_all_gone_is_left_for_its_volume(plant):
    for day in DAYS:
        predict(plant.home, day)
    path = plant.home.table("plant", "predictions")
    hidden = [file.rename(file.with_suffix(".away")) for file in data_files(path)]
    with pytest.raises(DataError, match="mount the volume"):
        repair(plant.home, "plant")
    for file in hidden:
        file.rename(file.with_suffix(".parquet"))
    assert predicted.read(plant.home, "plant").num_rows == len(DAYS)


def test_an_earlier_commit_that_is_damaged_needs_a_backup(plant):
    plant.run()
    path = plant.home.table("plant", "images")
    last_commit(path).with_name(f"{0:020d}.json").write_bytes(b"")
    with pytest.raises(DataError, match="restore a backup"):
        repair(plant.home, "plant")


def test_a_broken_checkpoint_is_no_loss(plant):
    for shard in range(45):
        predict(plant.home, DAYS[0], shard)
    log = plant.home.table("plant", "predictions") / "_delta_log"
    newest = max(log.glob("*.checkpoint.parquet"))
    newest.write_bytes(b"")
    with pytest.raises(DataError, match=f"(?s){newest}.*repair"):
        predicted.read(plant.home, "plant")
    repair(plant.home, "plant")
    assert predicted.read(plant.home, "plant").num_rows == 45


def test_an_error_that_no_damage_explains_stays_what_it_is(plant):
    plant.run()
    with pytest.raises(Exception, match="no_such") as caught:
        delta.select(delta.open_table(plant.home.table("plant", "images")), "no_such")
    assert not isinstance(caught.value, DataError)


def test_a_commit_is_on_the_disk_with_the_files_that_it_added(plant, monkeypatch):
    synced = []
    monkeypatch.setattr(files, "sync", synced.append)
    predict(plant.home, DAYS[0])
    plant.run()
    for name in ("predictions", "images", "labels"):
        path = plant.home.table("plant", name)
        for commit in (path / "_delta_log").glob("*.json"):
            added = [json.loads(line).get("add") for line in commit.read_text().splitlines()]
            assert {commit, *(path / one["path"] for one in added if one)} <= set(synced)
        assert {path, path / "_delta_log"} <= set(synced)


def test_another_writer_that_came_first_is_no_damage(plant):
    predict(plant.home, DAYS[0])
    path = plant.home.table("plant", "predictions")
    data_files(path)[0].unlink()
    with pytest.raises(CommitFailedError), told(path):
        raise CommitFailedError("another writer")
