"""A damaged image is refused, also where OpenCV fills the damage and says nothing."""

import io
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from ml.errors import ImageError
from ml.imaging import decode_rgb

JPEGS = {
    "baseline": (),
    "progressive": (cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "restart markers": (cv2.IMWRITE_JPEG_RST_INTERVAL, 4),
}
TIFFS = {
    "lzw": (cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_TIFF_COMPRESSION_LZW),
    "deflate": (cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_TIFF_COMPRESSION_ADOBE_DEFLATE),
}


def _plate(dtype=np.uint8):
    noise = np.random.default_rng(2).integers(0, 255, (90, 120, 3)).astype(np.uint8)
    scale = np.iinfo(dtype).max // 255
    return cv2.GaussianBlur(noise, (0, 0), 2).astype(dtype) * dtype(scale)


def _encode(suffix, options=(), dtype=np.uint8):
    return cv2.imencode(suffix, _plate(dtype), options)[1].tobytes()


def _zeroed(content):
    start, end = len(content) // 2, len(content) * 3 // 4
    return content[:start] + bytes(end - start) + content[end:]


def _reason(content):
    with pytest.raises(ImageError) as raised:
        decode_rgb(content)
    return raised.value.reason


@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS)
def test_half_a_jpeg_with_an_end_marker_is_refused(options):
    content = _encode(".jpg", options)
    assert _reason(content[: len(content) // 2] + b"\xff\xd9") == "corrupt"


@pytest.mark.parametrize(
    ("suffix", "options"),
    [*((".jpg", one) for one in JPEGS.values()), *((".tiff", one) for one in TIFFS.values())],
    ids=[*JPEGS, *TIFFS],
)
def test_an_image_with_zeroed_data_is_refused(suffix, options):
    content = _encode(suffix, options)
    assert decode_rgb(content).shape == (90, 120, 3)
    assert _reason(_zeroed(content)) == "corrupt"


def test_a_png_with_zeroed_data_is_refused():
    assert _reason(_zeroed(_encode(".png"))) == "truncated"


def test_a_tiff_of_16_bit_colours_is_whole():
    assert decode_rgb(_encode(".tiff", dtype=np.uint16)).shape == (90, 120, 3)


def test_a_jpeg_for_print_is_whole():
    file = io.BytesIO()
    Image.fromarray(_plate()).convert("CMYK").save(file, "JPEG")
    assert decode_rgb(file.getvalue()).shape == (90, 120, 3)


_TOO_LITTLE = """
import resource, sys
from ml.imaging import decode_rgb
content = sys.stdin.buffer.read()
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
# Enough for the pixels (27 MB), not for the coefficients of a progressive JPEG beside them.
resource.setrlimit(resource.RLIMIT_AS, (used + 40_000_000, -1))
try:
    decode_rgb(content)
except MemoryError:
    sys.exit(77)
"""


def test_a_jpeg_that_memory_does_not_suffice_for_is_not_called_damaged():
    image = np.zeros((3000, 3000, 3), np.uint8)
    content = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_PROGRESSIVE, 1))[1].tobytes()
    done = subprocess.run([sys.executable, "-c", _TOO_LITTLE], input=content, check=False)
    assert done.returncode == 77


@pytest.mark.real_data
def test_real_photographs_are_whole(real_data):
    photographs = sorted(real_data.glob("*/**/*.jp*g"))[::50]
    assert len(photographs) > 20
    for path in photographs:
        assert decode_rgb(path.read_bytes()).ndim == 3, path


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3)])
def test_a_whole_tiff_of_floats_is_not_called_damaged(dtype, shape):
    pixels = np.random.default_rng(4).random(shape).astype(dtype)
    assert _reason(cv2.imencode(".tiff", pixels)[1].tobytes()) == "bit_depth"
