"""Shapes of a labelme document cover the pixels that they are drawn around."""

import base64
import json

import cv2
import numpy as np
import pytest

from ml.errors import ImageError
from ml.imaging import is_drawn, read_drawn

SIZE = (40, 60)


def document(*shapes: dict, **fields: object) -> bytes:
    sides = {"imageHeight": SIZE[0], "imageWidth": SIZE[1]}
    return json.dumps({"shapes": shapes, **sides, **fields}).encode()


def shape(kind: str | None, points: list, label: str = "pit", **fields: object) -> dict:
    return {"label": label, "shape_type": kind, "points": points, **fields}


def box(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[top:bottom, left:right] = True
    return mask


EMPTY = base64.b64encode(cv2.imencode(".png", np.zeros((4, 6), np.uint8))[1].tobytes()).decode()
CORNERS = [[10, 5], [20, 5], [20, 9], [10, 9]]


@pytest.mark.parametrize(
    ("kind", "points"),
    [
        ("polygon", CORNERS),
        (None, CORNERS),
        ("rectangle", [[20, 9], [10, 5]]),
        ("rectangle", CORNERS),
        ("oriented_rectangle", CORNERS),
    ],
)
def test_a_box_covers_its_pixels_and_no_other(kind, points):
    mask, labels = read_drawn(document(shape(kind, points)), SIZE)
    assert labels == ("pit",)
    assert np.array_equal(mask, box(10, 5, 20, 9))


def test_a_circle_has_its_area():
    mask, _ = read_drawn(document(shape("circle", [[30, 20], [42, 20]])), SIZE)
    assert mask.sum() == pytest.approx(np.pi * 12**2, rel=0.02)


def test_a_slanted_outline_has_its_area():
    corners = np.array([[5.3, 8.1], [50.2, 12.6], [44.9, 30.4], [12.7, 35.2]])
    x, y = corners.T
    area = abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2
    mask, _ = read_drawn(document(shape("polygon", corners.tolist())), SIZE)
    assert mask.sum() == pytest.approx(area, rel=0.01)


def test_an_outline_thinner_than_a_pixel_does_not_vanish():
    hair = [[10.4, 5.4], [30.4, 5.4], [30.4, 5.6], [10.4, 5.6]]
    mask, _ = read_drawn(document(shape("polygon", hair)), SIZE)
    assert mask[5, 11:30].all()
    assert not mask[:5].any()
    assert not mask[6:].any()


def test_a_mask_of_its_own_is_pasted_where_it_lies():
    piece = np.zeros((4, 6), np.uint8)
    piece[1:3, 2:5] = 255
    png = base64.b64encode(cv2.imencode(".png", piece)[1].tobytes()).decode()
    mask, _ = read_drawn(document(shape("mask", [[50, 30], [55, 33]], mask=png)), SIZE)
    assert np.array_equal(mask, box(52, 31, 55, 33))


def test_overlapping_shapes_add_up_and_the_largest_label_comes_first():
    shapes = [
        shape("rectangle", [[0, 0], [10, 10]], "Chip "),
        shape("rectangle", [[5, 5], [25, 15]], "pit"),
        shape("rectangle", [[30, 0], [39, 2]], "chip"),
    ]
    mask, labels = read_drawn(document(*shapes), SIZE)
    assert labels == ("pit", "chip")
    assert mask.sum() == 100 + 200 - 25 + 18


def test_a_flag_that_is_not_set_or_says_good_changes_nothing():
    mask, labels = read_drawn(document(flags={"scratch": False, "OK": True}), SIZE)
    assert (mask.any(), labels) == (False, ())


def test_a_document_without_shapes_marks_nothing():
    mask, labels = read_drawn(document(), SIZE)
    assert not mask.any()
    assert labels == ()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (document(shape("line", [[1, 1], [9, 9]])), "mask_unreadable"),
        (document(shape("polygon", [[1, 1], [9, 9]])), "mask_unreadable"),
        (document(shape("polygon", [[1, 1], [9, 9], [4]])), "mask_unreadable"),
        (document(shape("polygon", [[1, 1], [9, float("nan")], [4, 9]])), "mask_unreadable"),
        (document(shape("polygon", [])), "mask_unreadable"),
        (document(shape("polygon", [[1, 1], [9, 10**400], [4, 9]])), "mask_unreadable"),
        (document(shape("polygon", CORNERS, label=" ")), "mask_unreadable"),
        (document(shape("mask", [[0, 0], [5, 5]], mask="no base64")), "mask_unreadable"),
        (document(shape("mask", [[0, 0], [5, 5]], mask="abcd")), "mask_unreadable"),
        (document(shape("mask", [[0, 0], [5, 5]])), "mask_unreadable"),
        (document(shape("mask", [[0, 0], [5, 3]], mask=EMPTY)), "mask_unreadable"),
        (document(shape("rectangle", [[60.5, 5], [61.5, 9]])), "mask_unreadable"),
        (document(shape("polygon", [[1, 1], [70, 9], [4, 9]])), "mask_size"),
        (document(shape("polygon", [[1, -9], [9, 9], [4, 9]])), "mask_size"),
        (document(imageWidth=61), "mask_size"),
        (document()[:-3], "mask_unreadable"),
        (b'{"version": 1}', "mask_unreadable"),
        (b'{"shapes": [1]}', "mask_unreadable"),
        (b'{"shapes": {}}', "mask_unreadable"),
        (b'{"shapes": null}', "mask_unreadable"),
        (document(flags={"scratch": True, "ok": False}), "mask_unreadable"),
        (document(flags=["scratch"]), "mask_unreadable"),
        (b'{"shapes": "' + b"[" * 200_000, "mask_unreadable"),
        (b'{"shapes": ' + b"[" * 200_000, "mask_unreadable"),
        (b'{"a": "\xff"}', "mask_unreadable"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_reason(content, reason):
    assert is_drawn(content)
    with pytest.raises(ImageError) as raised:
        read_drawn(content, SIZE)
    assert raised.value.reason == reason


def test_an_image_is_no_document():
    assert is_drawn(b"\xef\xbb\xbf\n {}")
    assert not is_drawn(cv2.imencode(".png", np.zeros((4, 4), np.uint8))[1].tobytes())
    assert not is_drawn(b"")
