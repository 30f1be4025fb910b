"""What is read of the tables."""

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from ml.data import catalog
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
