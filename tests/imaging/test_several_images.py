"""A file of several images is refused: the first would pass for those that nobody looked at."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from ml.errors import ImageError
from ml.imaging import decode, decode_grey

SUBFILE = 254
PREVIEW = 1


def _frames(count=2, side=40):
    random = np.random.default_rng(5)
    shape = (side, side, 3)
    return [Image.fromarray(random.integers(0, 255, shape).astype(np.uint8)) for _ in range(count)]


def _saved(kind, frames, **options):
    file = io.BytesIO()
    more = {"save_all": True, "append_images": frames[1:]} if len(frames) > 1 else {}
    frames[0].save(file, kind, **more, **options)
    return file.getvalue()


def _tiff(*subfiles):
    """A TIFF of so many images, each with its NewSubfileType."""
    file = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(file, new=True) as writer:
        for subfile, frame in zip(subfiles, _frames(len(subfiles)), strict=True):
            frame.save(writer, "TIFF", tiffinfo={SUBFILE: subfile})
            writer.newFrame()
    return file.getvalue()


@pytest.mark.parametrize("kind", ["TIFF", "WEBP", "PNG", "MPO"])
@pytest.mark.parametrize("read", [decode, decode_grey])
def test_pages_and_animations_are_refused(kind, read):
    content = _saved(kind, _frames(2))
    with pytest.raises(ImageError) as raised:
        read(content)
    assert raised.value.reason == "several_images"
    assert read(_saved(kind, _frames(1))).shape[:2] == (40, 40)


@pytest.mark.parametrize(
    ("subfiles", "is_taken"),
    [((0,), True), ((0, PREVIEW), True), ((0, 2), False), ((PREVIEW, 0), False)],
    ids=["one", "with its preview", "two pages", "the preview first"],
)
def test_a_preview_behind_its_image_is_no_page(subfiles, is_taken):
    content = _tiff(*subfiles)
    if is_taken:
        assert decode(content).shape == (40, 40, 3)
        return
    with pytest.raises(ImageError) as raised:
        decode(content)
    assert raised.value.reason == "several_images"


@pytest.mark.parametrize(
    ("kind", "is_taken"),
    [(0x010001, True), (0x020002, False), (0, False)],
    ids=["its preview", "the other eye", "of no kind"],
)
def test_a_jpeg_with_a_second_picture_is_taken_where_that_is_a_preview(kind, is_taken):
    content = bytearray(_saved("MPO", _frames(2)))
    first = content.index(struct.pack("<I", 0x030000), content.index(b"0100"))
    struct.pack_into("<I", content, first + 16, kind)
    if is_taken:
        assert decode(bytes(content)).shape == (40, 40, 3)
        return
    with pytest.raises(ImageError) as raised:
        decode(bytes(content))
    assert raised.value.reason == "several_images"


def test_a_list_of_pictures_that_is_cut_is_damage():
    content = _saved("MPO", _frames(2))
    place = content.index(b"MPF\0")
    with pytest.raises(ImageError) as raised:
        decode(content[: place + 10] + b"\xff\xd9")
    assert raised.value.reason == "truncated"


def test_a_transparent_webp_is_no_animation():
    clear = _frames(1)[0].convert("RGBA")
    clear.putalpha(90)
    content = _saved("WEBP", [clear])
    assert content[12:16] == b"VP8X"
    assert decode(content).shape == (40, 40, 3)


def test_pages_behind_the_end_of_the_file_are_missed():
    content = bytearray(_saved("TIFF", _frames(1)))
    (place,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, place)
    struct.pack_into("<I", content, place + 2 + 12 * entries, len(content))
    with pytest.raises(ImageError) as raised:
        decode(bytes(content))
    assert raised.value.reason == "truncated"


def test_a_tiff_that_names_itself_as_the_next_page_ends():
    content = bytearray(_saved("TIFF", _frames(1)))
    (place,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, place)
    struct.pack_into("<I", content, place + 2 + 12 * entries, place)
    assert decode(bytes(content)).shape == (40, 40, 3)
