"""A killed or failed write leaves the old file, and equal values have equal bytes and names."""

import os

import pytest

from ml import files


def test_a_failed_write_leaves_the_old_content_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "card.json"
    files.write_bytes(path, b"old")

    def disk_full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match="No space left"):
        files.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["card.json"]


def test_equal_values_give_equal_bytes_and_names(tmp_path):
    files.write_json(tmp_path / "a", {"x": 1, "y": [2]})
    files.write_json(tmp_path / "b", {"y": [2], "x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert files.content_key({"x": 1, "y": 2}) == files.content_key({"y": 2, "x": 1})
    assert files.content_key({"x": 1}) != files.content_key({"x": 2})
