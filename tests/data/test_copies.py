"""Copies of a part are found however they were turned or lit; other parts are not."""

from itertools import pairwise

import cv2
import numpy as np
import pytest

from ml.data.copies import find_copies
from ml.data.keypoints import detect, mirrored
from ml.data.leak import find_leaks
from ml.data.snapshot import snapshot

SIDE = 160
PARTS = 9


def part(seed):
    """A ring, which all parts share, on a surface of its own; grey `[160, 160]`."""
    rng = np.random.default_rng(seed)
    image = np.full((SIDE, SIDE), 60, np.float32)
    cv2.circle(image, (80, 80), 65, 150, -1)
    cv2.circle(image, (80, 80), 25, 30, -1)
    surface = rng.normal(0, 1, image.shape).astype(np.float32)
    image += 60 * cv2.GaussianBlur(surface, (0, 0), 1.5)
    for _ in range(6):
        start, end = rng.integers(10, 150, (2, 2)).tolist()
        cv2.line(image, start, end, float(rng.integers(0, 255)), 1)
    return np.clip(image, 0, 255).astype(np.uint8)


def board(seed):
    """A printed board: the same print, other noise and a few marks; grey `[160, 200]`."""
    print_, rng = np.random.default_rng(99), np.random.default_rng(seed)
    image = np.full((160, 200), 110, np.uint8)
    for k in range(24):
        x, y, w, h = print_.integers((0, 0, 8, 6), (180, 140, 40, 30)).tolist()
        cv2.rectangle(image, (x, y), (x + w, y + h), 20 + 9 * k, -1 if k % 2 else 1)
        cv2.putText(image, f"R{k}", (y, x % 160), cv2.FONT_HERSHEY_PLAIN, 0.7, 230 - 9 * k)
    image = image + rng.normal(0, 4, image.shape).astype(np.float32)
    for _ in range(8):
        start, end = rng.integers(0, 160, (2, 2)).tolist()
        cv2.line(image, start, end, float(rng.integers(0, 255)), 1)
    return np.clip(image, 0, 255).astype(np.uint8)


def turned(image, degrees):
    turn = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), degrees, 1)
    return cv2.warpAffine(image, turn, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)


def re_encoded(image):
    content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    return cv2.imdecode(content, cv2.IMREAD_GRAYSCALE)


def re_lit(image):
    slope = np.linspace(0.5, 1.1, SIDE, dtype=np.float32)
    return np.clip(255 * (image / 255) ** 0.7 * slope, 0, 255).astype(np.uint8)


def found_among(images, threads=1):
    rgb = [cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) for image in images]
    keys = [str(n) for n in range(len(rgb))]
    return find_copies(len(rgb), rgb.__getitem__, keys, threads=threads)


PARTS_APART = [part(seed) for seed in range(PARTS)]
COPIES = {
    "turned by 90 degrees": lambda image: np.rot90(image),
    "turned by 180 degrees": lambda image: np.rot90(image, 2),
    "mirrored": lambda image: image[:, ::-1],
    "turned by 90 degrees, mirrored": lambda image: np.rot90(image[:, ::-1]),
    "turned by 33 degrees": lambda image: turned(image, 33),
    "as it is": lambda image: np.roll(image, (5, -7), (0, 1)),
}


@pytest.mark.parametrize("how", COPIES)
def test_a_turned_or_mirrored_copy_is_found_and_described(how):
    copy = np.ascontiguousarray(COPIES[how](PARTS_APART[4]))
    found = found_among([*PARTS_APART, copy])
    assert [(c.first, c.second, c.how) for c in found] == [(4, PARTS, how)]


@pytest.mark.parametrize("change", [re_encoded, re_lit, lambda image: image[20:, 15:]])
def test_a_re_encoded_re_lit_or_cropped_copy_is_found(change):
    copy = np.ascontiguousarray(change(turned(PARTS_APART[2], 5)))
    found = found_among([*PARTS_APART, copy])
    assert [(c.first, c.second) for c in found] == [(2, PARTS)]


def test_threads_change_nothing():
    images = [*PARTS_APART, np.rot90(PARTS_APART[4]), re_lit(PARTS_APART[1])]
    pairs = [[(c.first, c.second, c.score) for c in found_among(images, n)] for n in (1, 3)]
    assert len(pairs[0]) == 2
    assert pairs[0] == pairs[1]


def test_different_parts_of_one_design_are_no_copies():
    assert found_among([part(seed) for seed in range(24)]) == []


def test_boards_with_the_same_print_are_no_copies():
    assert found_among([board(seed) for seed in range(24)]) == []


def test_images_that_show_nothing_are_no_copies():
    blank = [np.full((SIDE, SIDE), level, np.uint8) for level in (0, 128, 128, 255)]
    assert found_among(blank) == []
    assert found_among([*blank, PARTS_APART[0]]) == []


def test_images_with_the_same_key_are_not_compared():
    rgb = [cv2.cvtColor(part(0), cv2.COLOR_GRAY2RGB)] * 2
    assert find_copies(2, rgb.__getitem__, ["a", "a"]) == []
    assert len(find_copies(2, rgb.__getitem__, ["a", "b"])) == 1


def test_mirrored_keypoints_are_those_of_the_mirrored_image():
    image = part(0)
    derived = mirrored(detect(image)).descriptors.astype(np.float32)
    seen = detect(np.ascontiguousarray(image[:, ::-1])).descriptors.astype(np.float32)
    nearest = np.linalg.norm(derived[:, None] - seen[None], axis=2).min(axis=1)
    assert np.median(nearest) < 0.2 * np.linalg.norm(seen, axis=1).mean()


def _write_parts(plant, seeds):
    for seed in seeds:
        plant.write(f"ok/part{seed}.png", cv2.imencode(".png", part(seed))[1].tobytes())


def test_leaks_do_not_depend_on_the_order_of_the_rows(plant):
    from ml.data import catalog

    _write_parts(plant, range(4))
    turn = cv2.imencode(".png", np.ascontiguousarray(np.rot90(part(1))))[1].tobytes()
    plant.write("ok/turned.png", turn)
    plant.run()
    rows = [
        row | {"split": "test" if "turned" in row["object"] else "train"}
        for row in catalog.read_images(plant.home, "plant").to_pylist()
    ]
    leaks = find_leaks(plant.home, rows)
    assert [leak.kind for leak in leaks] == ["copy"]
    assert {leaks[0].first, leaks[0].second} == {"ok/part1.png", "ok/turned.png"}
    assert find_leaks(plant.home, rows[::-1]) == leaks


def test_a_snapshot_keeps_groups_together_that_show_one_part(plant):
    from ml.data.dataset import load_dataset

    _write_parts(plant, range(20, 32))
    for n, degrees in enumerate((90, 40)):
        copy = cv2.imencode(".png", turned(part(23 + n), degrees))[1].tobytes()
        plant.write(f"ok/turned{n}.png", copy)
    plant.run()
    made = snapshot(plant.home, plant.line, None)
    assert made.joined == {"turned0": "part23", "turned1": "part24"}
    samples = load_dataset(plant.home, "plant", made.dataset).samples
    for copy, original in (("turned0", "part23"), ("turned1", "part24")):
        both = [s for s in samples if s.part in (copy, original)]
        assert len(both) == 2
        assert all(a.split == b.split and a.group == b.group for a, b in pairwise(both))
