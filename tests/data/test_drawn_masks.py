"""Outlines drawn with labelme serve as masks, in a folder of their own or beside the images."""

import csv
import json
from pathlib import Path

import pytest

from ml.data import catalog
from ml.data.dataset import read_mask
from tests.data.conftest import SIDE, Plant, make_line

PIT = {"label": "Pit", "shape_type": "polygon", "points": [[4, 4], [9, 4], [9, 9], [4, 9]]}


@pytest.fixture
def drawn(plant: Plant) -> Plant:
    """Two pictures with a document beside each, the second without a shape, and one without any."""
    plant.line = make_line(kind="masks", masks="images")
    for name in "abc":
        plant.picture(f"images/{name}.jpg", ord(name))
    draw(plant, "images/a.json", PIT)
    draw(plant, "images/b.json")
    return plant


def draw(plant: Plant, key: str, *shapes: dict) -> None:
    sides = {"imageHeight": SIDE, "imageWidth": SIDE, "imageData": None}
    plant.write(key, json.dumps({"version": "5.5.0", "shapes": shapes, **sides}).encode())


def labels(plant: Plant) -> dict[str, dict]:
    rows = catalog.read_images(plant.home, "plant", status=None).to_pylist()
    found = catalog.read_labels(plant.home, "plant")
    return {row["object"]: found.get(row["sha256"], {}) for row in rows}


def test_shapes_give_label_type_and_mask(drawn):
    assert drawn.run().accepted == 3
    found = labels(drawn)
    assert (found["images/a.jpg"]["label"], found["images/a.jpg"]["defect_type"]) == (
        "defect",
        "pit",
    )
    mask = read_mask(drawn.home, found["images/a.jpg"]["mask"])
    assert mask.sum() == 25
    assert mask[4:9, 4:9].all()
    assert found["images/b.jpg"]["label"] == "ok"
    assert found["images/c.jpg"] == {}


def test_a_document_in_a_folder_of_masks_goes_before_an_image(drawn):
    drawn.line = make_line(kind="masks")
    draw(drawn, "masks/c.json", PIT)
    drawn.write("masks/c.png", b"a preview")
    drawn.run()
    assert labels(drawn)["images/c.jpg"]["defect_type"] == "pit"


def test_a_picture_beside_one_of_the_same_name_is_not_its_mask(drawn):
    drawn.picture("images/c.png", 7)
    assert drawn.run().accepted == 4
    found = labels(drawn)
    assert (found["images/c.jpg"], found["images/c.png"]) == ({}, {})


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (PIT | {"label": "OK"}, "label_conflict"),
        (PIT | {"label": "Good"}, "label_conflict"),
        (PIT | {"shape_type": "point"}, "mask_unreadable"),
        (PIT | {"points": [[4, 4], [9, 4], [9, 90]]}, "mask_size"),
    ],
)
def test_a_shape_that_marks_no_defect_quarantines_its_image(drawn, shape, reason, caplog):
    draw(drawn, "images/b.json", shape)
    assert drawn.run().reasons == {reason: 1}
    assert "images/b.json" in caplog.text


def test_the_lines_own_word_for_good_is_no_defect_whatever_its_case_and_spaces(drawn):
    drawn.line = make_line(kind="masks", masks="images", ok=(" Clean",))
    draw(drawn, "images/b.json", PIT | {"label": "CLEAN "})
    assert drawn.run().reasons == {"label_conflict": 1}


def test_a_manifest_may_name_a_document_and_its_own_type(plant):
    plant.line = make_line(
        kind="manifest", manifest="m.csv", columns={"label": "label", "mask": "mask"}
    )
    plant.write("m.csv", b"path,label,mask\nok/part0.png,burr,drawn.json\nok/part1.png,ok,\n")
    draw(plant, "drawn.json", PIT)
    plant.run()
    label = labels(plant)["ok/part0.png"]
    assert (label["defect_type"], read_mask(plant.home, label["mask"]).sum()) == ("burr", 25)


@pytest.mark.real_data
def test_ball_screws_come_in_with_their_outlines(plant: Plant, real_data: Path) -> None:
    plant.source = real_data / "bsdata_pitting"
    plant.line = make_line(
        kind="masks", masks="labelme", manifest="manifest.csv", columns={"group": "group"}
    )
    with (plant.source / "manifest.csv").open() as rows:
        images = [row for row in csv.DictReader(rows) if row["path"].endswith(".jpg")]
    assert plant.run().accepted == len(images)
    found = labels(plant)
    assert {label["defect_type"] for label in found.values()} == {"pitting"}
    for key, label in found.items():
        document = plant.source / "labelme" / f"{Path(key).stem}.json"
        polygons = [one["points"] for one in json.loads(document.read_text())["shapes"]]
        drawn = sum(abs(_area(polygon)) for polygon in polygons)
        assert read_mask(plant.home, label["mask"]).sum() == pytest.approx(drawn, rel=0.03)


def _area(polygon: list[list[float]]) -> float:
    after = [*polygon[1:], polygon[0]]
    return sum(x * b - a * y for (x, y), (a, b) in zip(polygon, after, strict=True)) / 2


def test_a_mask_is_found_however_its_suffix_and_accents_are_written(plant):
    plant.line = make_line(kind="masks")
    for name in ("caf\u00e9", "b"):
        plant.picture(f"images/{name}.png", 7 + len(name))
    draw(plant, "masks/cafe\u0301.JSON", PIT)
    draw(plant, "masks/b.Json", PIT)
    plant.run()
    assert [label["defect_type"] for label in labels(plant).values()] == ["pit", "pit"]
