"""On real sets: the copies that cross are found, and nothing between different parts."""

import csv
from collections import defaultdict
from pathlib import Path

import pytest

from ml.data.copies import find_copies
from ml.imaging import decode_rgb

SETS = Path(__file__).parents[2].parent / "shared/data"

# Pairs of groups that show one tile though the manifest says two: all looked at by eye.
ONE_TILE = {
    ("109", "71"), ("228", "248"), ("1118", "958"), ("103", "84"), ("1185", "865"),
    ("1219", "740"), ("1243", "1328"), ("41", "98"), ("241", "251"),
}  # fmt: skip

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not SETS.is_dir(), reason=f"the real images are not there: {SETS}"),
]


def groups_of(name, folder=""):
    """Manifest rows by group."""
    groups = defaultdict(list)
    with (SETS / name / "manifest.csv").open() as file:
        for row in csv.DictReader(file):
            if row["path"].startswith(folder):
                groups[row["group"]].append(row)
    return groups


def found_among(name, rows, keys):
    def read(index):
        return decode_rgb((SETS / name / rows[index]["path"]).read_bytes())

    return find_copies(len(rows), read, keys)


def test_turned_castings_that_cross_the_official_split_are_found():
    rows = []
    for members in groups_of("casting").values():
        by_split = {row["official"].split("/")[0]: row for row in members}
        if len(by_split) == 2:
            rows += by_split.values()
    rows = rows[:48]
    found = found_among("casting", rows, [row["official"].split("/")[0] for row in rows])
    groups = {rows[c.first]["group"] for c in found}
    assert len(groups) == 24
    assert sum(c.alignment.is_mirrored for c in found) > 5
    assert len({c.alignment.turn // 90 for c in found}) == 4


def test_exposures_of_a_tile_split_by_file_are_found_and_no_others():
    rows = []
    for members in list(groups_of("magnetic_tiles", "images/").values())[:24]:
        rows += members[:1] + members[-1:]
    keys = ["train" if n % 2 else "test" for n in range(len(rows))]
    found = found_among("magnetic_tiles", rows, keys)
    groups = [tuple(sorted({rows[c.first]["group"], rows[c.second]["group"]})) for c in found]
    assert {two for two in groups if len(two) == 2} <= ONE_TILE
    assert len({rows[c.first]["group"] for c in found}) >= 20


def test_commutators_are_no_copies_of_one_another():
    rows = [row for members in groups_of("kolektor_sdd").values() for row in members[:1]]
    rows = [row for row in rows if not row["path"].startswith("ground_truth")]
    assert len(rows) > 20
    assert found_among("kolektor_sdd", rows, [row["path"] for row in rows]) == []
