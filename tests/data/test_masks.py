"""A bad mask quarantines its own image and lets the rest of the batch go on."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from ml.data import catalog
from ml.data.quarantine import Choice, replay
from tests.data.conftest import SIDE, Plant, make_line


def _png(mask: np.ndarray) -> bytes:
    return cv2.imencode(".png", mask)[1].tobytes()


def _giant(side: int) -> bytes:
    """A whole PNG header of side x side pixels with no pixels behind it."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)), (b"IDAT", b"")]
    parts = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in [*chunks, (b"IEND", b"")]
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _square(value: int) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[4:9, 4:9] = value
    return mask


def _in_alpha(colour: int) -> np.ndarray:
    colours = np.full((SIDE, SIDE, 3), colour, np.uint8)
    return np.dstack([colours, _square(255)])


@pytest.fixture
def masked(plant: Plant) -> Plant:
    """Two images in a layout with masks; the first has a good mask."""
    plant.line = make_line(kind="masks")
    plant.picture("images/a.png", 50)
    plant.write("masks/a.png", _png(_square(255)))
    plant.picture("images/b.png", 51)
    return plant


def _status(plant: Plant, key: str) -> tuple[str, str]:
    rows = catalog.read_images(plant.home, "plant", status=None).to_pylist()
    return next((row["status"], row["reason"]) for row in rows if row["object"] == key)


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (b"", "mask_unreadable"),
        (b"a text", "mask_unreadable"),
        (_png(np.ones((SIDE, SIDE), np.uint8))[:-20], "mask_unreadable"),
        (_png(np.ones((SIDE, SIDE + 1), np.uint8)), "mask_size"),
        (_giant(40_000), "mask_size"),
        (_giant(9_000), "mask_size"),
        (_png(_square(1)), "mask_faint"),
        (_png(_square(127)), "mask_faint"),
        (_png(_square(3).astype(np.uint16)), "mask_faint"),
        (_png(_in_alpha(0)), "mask_faint"),
        (_png(_in_alpha(255)), "mask_faint"),
    ],
    ids=[
        *("empty", "text", "cut", "wider", "giant header", "large header"),
        *("0 and 1", "class number", "class number in 16 bits"),
        *("black with alpha", "white with alpha"),
    ],
)
def test_a_bad_mask_is_quarantined_with_its_reason(masked, mask, reason):
    masked.write("masks/b.png", mask)
    masked.run()
    assert _status(masked, "images/b.png") == ("quarantined", reason)
    assert _status(masked, "images/a.png") == ("accepted", "")


def test_a_faint_mask_names_its_highest_value_and_the_key_that_lets_it_in(masked, caplog):
    masked.write("masks/b.png", _png(_square(100)))
    masked.run()
    assert "masks/b.png: its highest value is 100" in caplog.text
    assert "`source.layout.mask_threshold` is 127" in caplog.text
    masked.line = make_line(kind="masks", mask_threshold=0)
    done = replay(masked.home, masked.line, Choice(), source=str(masked.source), threads=1)
    assert done.outcome.accepted == 1
    labels = catalog.read_labels(masked.home, "plant", source="layout")
    assert sorted(one["label"] for one in labels.values()) == ["defect", "defect"]


def test_an_empty_mask_is_that_of_a_good_part(masked):
    masked.write("masks/b.png", _png(_square(0)))
    masked.run()
    labels = catalog.read_labels(masked.home, "plant", source="layout")
    assert sorted(one["label"] for one in labels.values()) == ["defect", "ok"]


def test_a_clear_mask_of_one_colour_is_still_that_of_a_good_part(masked):
    masked.write("masks/b.png", _png(np.zeros((SIDE, SIDE, 4), np.uint8)))
    masked.run()
    assert _status(masked, "images/b.png") == ("accepted", "")


def test_defects_with_an_empty_mask_are_taken_and_named(plant, caplog):
    plant.line = make_line(kind="mvtec")
    for number in range(12):
        plant.picture(f"test/pit/{number:02d}.png", 60 + number)
        plant.write(f"ground_truth/pit/{number:02d}_mask.png", _png(_square(0)))
    assert plant.run().accepted == 12
    assert "12 defects have an empty mask and count as without one: test/pit/00.png" in caplog.text
    assert "test/pit/09.png, …" in caplog.text
    assert "test/pit/10.png" not in caplog.text


def test_a_mask_that_the_manifest_names_but_the_source_lacks_blocks_nothing_else(plant):
    plant.line = make_line(
        kind="manifest", manifest="m.csv", columns={"label": "label", "mask": "mask"}
    )
    plant.write("m.csv", b"path,label,mask\nok/part0.png,ok,\nok/part1.png,pit,gone.png\n")
    plant.run()
    assert _status(plant, "ok/part1.png") == ("quarantined", "mask_missing")
    assert _status(plant, "ok/part0.png") == ("accepted", "")


def test_a_mask_that_comes_after_its_image_labels_it(masked: Plant) -> None:
    masked.run()
    sha256 = {row["object"]: row["sha256"] for row in _rows(masked)}["images/b.png"]
    assert sha256 not in catalog.read_labels(masked.home, "plant")
    masked.write("masks/b.png", _png(_square(3)))
    masked.run()
    assert sha256 not in catalog.read_labels(masked.home, "plant")  # A faint one is not taken.
    masked.line = make_line(kind="masks", mask_threshold=2)
    assert masked.ingest().new == 1
    masked.run()
    label = catalog.read_labels(masked.home, "plant")[sha256]
    assert (label["label"], bool(label["mask"])) == ("defect", True)
    assert _status(masked, "images/b.png") == ("accepted", "")
    assert masked.ingest().new == 0
    assert len(_rows(masked)) == 2


def test_a_late_label_that_a_copy_contradicts_is_a_conflict(plant: Plant) -> None:
    plant.line = make_line(kind="manifest", manifest="m.csv", columns={"label": "kind"})
    plant.write("m.csv", b"path,kind\nok/part0.png,\n")
    plant.run()
    plant.write("copy.png", (plant.source / "ok/part0.png").read_bytes())
    plant.write("m.csv", b"path,kind\nok/part0.png,dent\ncopy.png,scratch\n")
    plant.run()
    assert _status(plant, "copy.png") == ("quarantined", "label_conflict")
    (label,) = catalog.read_labels(plant.home, "plant").values()
    assert label["defect_type"] == "dent"


def test_a_label_that_the_manifest_names_later_is_taken(plant: Plant) -> None:
    plant.line = make_line(kind="manifest", manifest="m.csv", columns={"label": "kind"})
    plant.write("m.csv", b"path,kind\nok/part0.png,\n")
    plant.run()
    assert not catalog.read_labels(plant.home, "plant")
    plant.write("m.csv", b"path,kind\nok/part0.png,scratch\n")
    plant.run()
    (label,) = catalog.read_labels(plant.home, "plant").values()
    assert label["defect_type"] == "scratch"
    assert plant.ingest().new == 0


def _rows(plant: Plant) -> list[dict[str, object]]:
    return catalog.read_images(plant.home, "plant", status=None).to_pylist()


def test_a_good_image_whose_mask_marks_a_defect_is_a_conflict(plant: Plant) -> None:
    plant.line = make_line(
        kind="manifest", manifest="m.csv", columns={"label": "label", "mask": "mask"}
    )
    plant.write("m.csv", b"path,label,mask\nok/part0.png,ok,m0.png\nok/part1.png,ok,m1.png\n")
    plant.write("m0.png", _png(_square(255)))
    plant.write("m1.png", _png(_square(0)))
    plant.run()
    assert _status(plant, "ok/part0.png") == ("quarantined", "label_conflict")
    assert _status(plant, "ok/part1.png") == ("accepted", "")
    plant.write("m0.png", _png(_square(0)))
    done = replay(plant.home, plant.line, Choice(), source=str(plant.source), threads=1)
    assert done.outcome.accepted == 1


def test_an_image_that_the_manifest_calls_good_and_bad_is_held(plant: Plant) -> None:
    plant.line = make_line(kind="manifest", manifest="m.csv", columns={"label": "kind"})
    plant.write("m.csv", b"path,kind\nok/part0.png,dent\nok/part1.png,ok\nok/part0.png,ok\n")
    assert plant.run().reasons == {"label_conflict": 1}
    assert _status(plant, "ok/part0.png") == ("quarantined", "label_conflict")
    assert [one["label"] for one in catalog.read_labels(plant.home, "plant").values()] == ["ok"]
    plant.write("m.csv", b"path,kind\nok/part0.png,dent\nok/part1.png,ok\n")
    done = replay(plant.home, plant.line, Choice(), source=str(plant.source), threads=1)
    assert done.outcome.accepted == 1
