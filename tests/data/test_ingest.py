"""Every object ends as accepted, quarantined with a reason, or duplicate; and only once."""

import os
import shutil
import struct
import zlib
from datetime import UTC, datetime

import cv2
import numpy as np
import pytest

from ml.data import catalog, predicted
from ml.data.dataset import read_mask, read_rgb
from ml.data.validate import validate
from ml.errors import DataError, SourceError
from tests.data.conftest import make_line


def _reason(plant, key):
    rows = catalog.read_images(plant.home, "plant", status=None).to_pylist()
    return {row["object"]: (row["status"], row["reason"]) for row in rows}[key]


def test_good_images_are_accepted_with_their_labels_and_bytes(plant):
    outcome = plant.run()
    assert (outcome.listed, outcome.accepted) == (6, 6)
    labels = catalog.read_labels(plant.home, "plant")
    assert sorted(row["defect_type"] for row in labels.values()) == [
        *[""] * 4,
        "scratch",
        "scratch",
    ]
    row = catalog.read_images(plant.home, "plant").to_pylist()[0]
    stored = plant.home.object(row["sha256"]).read_bytes()
    assert stored == (plant.source / row["object"]).read_bytes()


def test_a_local_stamp_after_midnight_in_utc_belongs_to_the_next_day(plant):
    plant.picture("ok/20260105T170000.png", 9)
    line = make_line(pattern=r"(?P<captured_at>\d{8}T\d{6})")
    local = line.source.model_copy(update={"timezone": "America/Los_Angeles"})
    plant.line = line.model_copy(update={"source": local})
    plant.run()
    rows = catalog.read_images(plant.home, "plant").to_pylist()
    (row,) = [row for row in rows if row["object"] == "ok/20260105T170000.png"]
    assert (row["captured_at"], row["day"]) == (datetime(2026, 1, 6, 1, tzinfo=UTC), "2026-01-06")


def test_ingesting_again_adds_nothing(plant):
    plant.run()
    assert plant.ingest().name == ""
    assert plant.run().listed == 0
    assert catalog.read_images(plant.home, "plant", status=None).num_rows == 6


def test_a_late_object_with_an_old_time_is_found(plant):
    plant.run()
    late = plant.picture("ok/late.png", 99)
    os.utime(late, (1, 1))
    assert plant.run().accepted == 1


def test_a_kill_between_ingest_and_validate_loses_nothing(plant):
    first = plant.ingest()
    again = plant.ingest()
    assert first == again
    assert plant.run().accepted == 6


def test_validating_a_batch_twice_leaves_the_same_rows(plant):
    batch = plant.ingest().name
    validate(plant.home, plant.line, batch)
    before = catalog.read_images(plant.home, "plant", status=None)
    validate(plant.home, plant.line, batch)
    assert catalog.read_images(plant.home, "plant", status=None).equals(before)


def _png_header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    length, check = struct.pack(">I", 13), struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + length + chunk + check + b"\x00" * 40 + b"IEND"


def _truncated_jpeg() -> bytes:
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    content = cv2.imencode(".jpg", picture)[1].tobytes()
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("cut.jpg", _truncated_jpeg(), "truncated"),
        ("text.png", b"hello, I am a text", "not_an_image"),
        ("empty.png", b"", "empty"),
        (
            "speck.png",
            cv2.imencode(".png", np.zeros((1, 1, 3), np.uint8))[1].tobytes(),
            "too_small",
        ),
        ("huge.png", _png_header(20_000, 20_000), "too_large"),
        (
            "small.png",
            cv2.imencode(".png", np.eye(8, dtype=np.uint8) * 200)[1].tobytes(),
            "too_small",
        ),
        (
            "black.png",
            cv2.imencode(".png", np.zeros((48, 48), np.uint8))[1].tobytes(),
            "brightness",
        ),
    ],
)
def test_a_bad_file_is_quarantined_with_its_reason_and_the_rest_goes_on(
    plant, name, content, reason
):
    plant.write(f"ok/{name}", content)
    outcome = plant.run()
    assert (outcome.accepted, outcome.quarantined) == (6, 1)
    assert _reason(plant, f"ok/{name}") == ("quarantined", reason)


def test_a_16_bit_png_is_accepted_and_read_as_8_bit(plant):
    grey = (np.random.default_rng(0).integers(0, 255, (48, 48)) * 257).astype(np.uint16)
    plant.write("ok/deep.png", cv2.imencode(".png", grey)[1].tobytes())
    assert plant.run().accepted == 7
    rows = catalog.read_images(plant.home, "plant").to_pylist()
    sha256 = next(row["sha256"] for row in rows if row["object"] == "ok/deep.png")
    assert np.array_equal(read_rgb(plant.home, sha256)[..., 0], (grey // 257).astype(np.uint8))


def test_a_byte_copy_under_another_name_is_a_duplicate(plant):
    plant.write("ok/zcopy.png", (plant.source / "ok/part0.png").read_bytes())
    outcome = plant.run()
    assert (outcome.accepted, outcome.duplicate) == (6, 1)
    assert _reason(plant, "ok/zcopy.png")[0] == "duplicate"


def test_a_missing_folder_is_named(plant, tmp_path):
    plant.source = tmp_path / "nowhere"
    with pytest.raises(SourceError, match="nowhere does not exist"):
        plant.ingest()


def test_an_empty_source_says_what_was_expected(plant, tmp_path):
    plant.source = tmp_path / "empty"
    plant.source.mkdir()
    with pytest.raises(SourceError, match=r"there is no object in it; check `source\.uri`"):
        plant.ingest()
    (plant.source / "notes.txt").touch()
    with pytest.raises(SourceError, match="no images of layout `class_folders` among 1 objects"):
        plant.ingest()


def test_a_folder_that_is_empty_all_at_once_may_be_a_volume_that_is_not_mounted(plant):
    plant.run()
    shutil.rmtree(plant.source)
    plant.source.mkdir()
    with pytest.raises(SourceError, match="there is no object in it"):
        plant.ingest()


def test_an_unknown_batch_is_named(plant):
    with pytest.raises(DataError, match=r"nothing\.parquet: no such batch"):
        validate(plant.home, plant.line, "nothing")


def test_masks_become_truth_and_a_mask_of_another_size_is_quarantined(plant):
    layout = plant.line.source.layout.model_copy(update={"kind": "masks"})
    source = plant.line.source.model_copy(update={"layout": layout})
    plant.line = plant.line.model_copy(update={"source": source})
    plant.picture("images/a.png", 50)
    plant.picture("images/b.png", 51)
    plant.picture("images/c.png", 52)
    mask = np.zeros((48, 48), np.uint8)
    mask[4:9, 4:9] = 255
    plant.write("masks/a.png", cv2.imencode(".png", mask)[1].tobytes())
    plant.write("masks/b.png", cv2.imencode(".png", mask[:20])[1].tobytes())
    plant.write("masks/c.png", cv2.imencode(".png", mask * 0)[1].tobytes())
    plant.run()
    assert _reason(plant, "images/b.png") == ("quarantined", "mask_size")
    labels = catalog.read_labels(plant.home, "plant")
    assert sorted(row["label"] for row in labels.values()) == ["defect", "ok"]
    truth = next(row["mask"] for row in labels.values() if row["mask"])
    assert read_mask(plant.home, truth).sum() == 25


def test_one_wrong_capture_time_holds_up_no_other_image(plant):
    plant.picture("ok/9_20260230T081500.png", 9)
    plant.picture("ok/8_20260205T081500.png", 8)
    plant.line = make_line(pattern=r"(?P<captured_at>\d{8}T\d{6})")
    assert plant.run().accepted == 7
    assert _reason(plant, "ok/9_20260230T081500.png") == ("quarantined", "bad_time")


def test_images_that_the_layout_has_no_place_for_are_counted_and_named(plant, caplog):
    plant.picture("stray.png", 9)
    batch = plant.ingest()
    assert (batch.new, batch.unrecognised) == (6, 1)
    assert "1 images are none of layout `class_folders` and are not taken, such as stray.png" in (
        caplog.text
    )


@pytest.mark.parametrize("day", ["20260305", "20260306"])
def test_of_versions_of_one_day_the_newest_alone_is_inspected(plant, day):
    for key in plant.source.rglob("*.*"):
        os.utime(key, (1_772_700_000,) * 2)  # 2026-03-05
    plant.run()
    version = catalog.version(plant.home, "plant", "images")
    newer = plant.picture("ok/part0.png", 99)
    os.utime(newer, (1_772_700_060 + 86_400 * (day == "20260306"),) * 2)
    plant.run()
    found = catalog.read_images(plant.home, "plant", day="2026-03-05")["object"].to_pylist()
    assert len(found) == len(set(found)) == 6
    assert catalog.count_images(plant.home, "plant").total() == 6 + (day == "20260306")
    left = {row["object"] for row in predicted.read_missing(plant.home, "plant", ["2026-03-05"])}
    assert left <= set(found)
    # Nor do two of them count when a version of another day comes.
    last = plant.picture("ok/part0.png", 98)
    os.utime(last, (1_772_700_000 + 3 * 86_400,) * 2)
    plant.run()
    now = catalog.read_images(plant.home, "plant", day="2026-03-05")["object"].to_pylist()
    assert sorted(now) == sorted(found)
    # A plan that was made before has the version of its time.
    then = catalog.read_images(plant.home, "plant", day="2026-03-05", version=version)
    assert then.num_rows == 6
