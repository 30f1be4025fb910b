"""A split that somebody else made: every copy that crosses is shown, and nothing is stopped."""

import json
from unicodedata import normalize

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from ml.cli.data import leaks

LINE = """
name = "plant"
title = "Plant"
[source]
uri = "{source}"
[source.layout]
kind = "class_folders"
"""


@pytest.fixture
def shown(plant, tmp_path):
    """Run `loupe leaks` on rows of a CSV."""
    line = tmp_path / "plant.toml"
    line.write_text(LINE.format(source=plant.source))

    def run(*rows, column="official"):
        table = tmp_path / "split.csv"
        table.write_text("\n".join(["path,official", *rows]))
        return CliRunner().invoke(
            leaks, ["--line", str(line), "--split", str(table), "--column", column]
        )

    return run


def test_a_mirrored_copy_and_a_byte_duplicate_are_shown(plant, shown):
    image = cv2.imread(str(plant.source / "ok/part0.png"))
    mirrored = cv2.imencode(".png", np.ascontiguousarray(image[:, ::-1]))[1].tobytes()
    plant.write("ok/mirror.png", mirrored)
    plant.write("ok/twice.png", (plant.source / "ok/part1.png").read_bytes())
    done = shown(
        "ok/part0.png,train/a", "ok/part1.png,train/b", "ok/part2.png,train/c",
        "ok/mirror.png,test/d", "ok/twice.png,test/e", "ok/part3.png,",
    )  # fmt: skip
    assert done.exit_code == 0
    result = json.loads(done.stdout)
    assert result["splits"] == {"train": 3, "test": 2}
    assert result["pairs"] == {"group": 0, "sha256": 1, "copy": 1}
    copy = next(leak for leak in result["leaks"] if leak["kind"] == "copy")
    assert {copy["first"], copy["second"]} == {"ok/part0.png", "ok/mirror.png"}
    assert copy["how"] == "mirrored"
    assert "(mirrored, score" in done.stderr


def test_a_path_is_of_the_image_whose_name_is_the_same_text_and_no_other_is_passed_over(
    plant, shown, caplog
):
    image = (plant.source / "ok/part0.png").read_bytes()
    plant.write(normalize("NFD", "ok/gehäuse.png"), image)
    done = shown("ok/part0.png,train", "ok/gehäuse.png,test", "ok/gone.png,test")
    assert json.loads(done.stdout)["pairs"]["sha256"] == 1
    assert "1 of its 3 paths are no images of line plant" in caplog.text
    assert "ok/gone.png" in caplog.text


def test_one_split_only_is_refused(shown):
    done = shown("ok/part0.png,train", "ok/part1.png,train")
    assert done.exit_code == 2
    assert "at least two splits are needed" in done.stderr


def test_a_missing_column_is_named_with_those_there_are(shown):
    done = shown("ok/part0.png,train", column="fold")
    assert done.exit_code == 2
    assert "no column ['fold']; it has ['path', 'official']" in done.stderr
