"""A bad mask quarantines its own image and lets the rest of the batch go on."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from ml.data import catalog
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


@pytest.fixture
def masked(plant: Plant) -> Plant:
    """Two images in a layout with masks; the first has a good mask."""
    plant.line = make_line(kind="masks")
    good = np.zeros((SIDE, SIDE), np.uint8)
    good[4:9, 4:9] = 255
    plant.picture("images/a.png", 50)
    plant.write("masks/a.png", _png(good))
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
    ],
    ids=["empty", "text", "cut", "wider", "giant header", "large header"],
)
def test_a_bad_mask_is_quarantined_with_its_reason(masked, mask, reason):
    masked.write("masks/b.png", mask)
    masked.run()
    assert _status(masked, "images/b.png") == ("quarantined", reason)
    assert _status(masked, "images/a.png") == ("accepted", "")


def test_a_mask_that_the_manifest_names_but_the_source_lacks_blocks_nothing_else(plant):
    plant.line = make_line(
        kind="manifest", manifest="m.csv", columns={"label": "label", "mask": "mask"}
    )
    plant.write("m.csv", b"path,label,mask\nok/part0.png,ok,\nok/part1.png,pit,gone.png\n")
    plant.run()
    assert _status(plant, "ok/part1.png") == ("quarantined", "mask_missing")
    assert _status(plant, "ok/part0.png") == ("accepted", "")
