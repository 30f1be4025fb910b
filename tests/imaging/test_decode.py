"""Bytes become the same pixels whatever the format, and a forged header costs nothing."""

import io
import tracemalloc

import cv2
import numpy as np
import pytest
from PIL import Image

from ml.errors import ImageError
from ml.imaging import decode, decode_rgb
from ml.imaging.header import header_size, sniff

FORMATS = [".png", ".jpg", ".bmp", ".tiff", ".webp"]


def _encode(image, suffix, *options):
    return cv2.imencode(suffix, image, options)[1].tobytes()


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("shape", [(37, 53, 3), (37, 53)])
def test_the_header_says_the_size_of_every_format(suffix, shape):
    content = _encode(np.full(shape, 90, np.uint8), suffix)
    assert header_size(content, sniff(content)) == (37, 53)
    assert decode_rgb(content).shape == (37, 53, 3)


def test_a_lossless_and_a_transparent_webp_say_their_size():
    lossless = _encode(np.zeros((9, 20, 3), np.uint8), ".webp", cv2.IMWRITE_WEBP_QUALITY, 101)
    clear = _encode(np.zeros((9, 20, 4), np.uint8), ".webp")
    assert {lossless[12:16], clear[12:16]} <= {b"VP8L", b"VP8X", b"VP8 "}
    assert header_size(lossless, "WebP") == header_size(clear, "WebP") == (9, 20)


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        *(("RGB", {"subsampling": one}) for one in ("4:4:4", "4:2:2", "4:2:0", "4:1:1")),
        ("RGB", {"keep_rgb": True}),
        ("L", {}),
        ("CMYK", {"subsampling": "4:4:4"}),
    ],
)
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_has_the_pixels_that_opencv_gives(mode, options, progressive):
    # Earlier bundles were trained on those.
    noise = np.random.default_rng(3).integers(0, 255, (37, 61, 3)).astype(np.uint8)
    picture = Image.fromarray(cv2.GaussianBlur(noise, (0, 0), 1)).convert(mode)
    turned = Image.Exif()
    turned[0x0112] = 6
    file = io.BytesIO()
    picture.save(file, "JPEG", progressive=progressive, exif=turned, **options)
    content = np.frombuffer(file.getvalue(), np.uint8)
    expected = cv2.imdecode(content, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    np.testing.assert_array_equal(decode_rgb(file.getvalue()), expected[..., ::-1])


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tiff"])
def test_a_grey_file_stays_one_plane_until_colours_are_asked_for(suffix):
    grey = np.random.default_rng(4).integers(0, 255, (37, 53)).astype(np.uint8)
    content = _encode(grey, suffix)
    assert decode(content).shape == (37, 53)
    np.testing.assert_array_equal(decode_rgb(content), np.dstack([decode(content)] * 3))


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_image_beyond_the_limit_is_refused_before_it_is_decoded(suffix):
    content = _encode(np.zeros((2000, 3000, 3), np.uint8), suffix)
    tracemalloc.start()
    with pytest.raises(ImageError, match="3000 x 2000 pixels") as raised:
        decode_rgb(content, max_pixels=1_000_000)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
    assert raised.value.reason == "too_large"


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_cut_anywhere_is_refused_or_whole(suffix):
    image = np.random.default_rng(1).integers(0, 255, (24, 24, 3)).astype(np.uint8)
    content = _encode(image, suffix)
    right = ("truncated", "corrupt", "not_an_image", _outcome(content))
    for end in range(4, len(content) - 2, 7):
        assert _outcome(content[:end]) in right, f"cut at {end}"


def _outcome(content):
    """The pixels, or why there are none."""
    try:
        return decode_rgb(content).tobytes()
    except ImageError as error:
        return error.reason
