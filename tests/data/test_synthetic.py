"""The demo line is the same for everybody, and exercises every branch."""

from itertools import islice

import pytest

from ml.data.synthetic import demo_days, demo_files, write_demo_images


@pytest.fixture(scope="module")
def made():
    """The demo line's files, by name."""
    return dict(demo_files(20261121))


def test_equal_seeds_give_equal_bytes_and_others_do_not(made):
    assert dict(demo_files(20261121)) == made
    for name, content in islice(demo_files(2), 5):
        assert made.get(name) != content


def test_writing_again_keeps_every_file(tmp_path):
    written, _ = write_demo_images(tmp_path, 1)
    assert write_demo_images(tmp_path, 1) == (0, written)


def test_all_four_defects_and_every_day_occur(made):
    manifest = made["manifest.csv"].decode()
    for kind in ("scratch", "pit", "stain", "chip", "ok"):
        assert f",{kind}\n" in manifest
    for day in demo_days():
        assert any(day.replace("-", "") in name for name in made)
