"""Image bytes to RGB arrays, with limits, and one way to resize."""

import io
import struct
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, TiffImagePlugin

from ml.errors import ImageError
from ml.imaging.header import has_more_images, header_size, sniff, tiff_sample

Pixels = npt.NDArray[np.uint8]
Kind = TypeVar("Kind", bound=np.generic)

MAX_PIXELS = 100_000_000
_MIN_SIDE = 2
# A 16-bit image below it uses twelve bits or fewer: of full range it would be all but black.
_NARROW = 4096
# What Pillow raises over a damaged file depends on where the damage is.
_DAMAGE = (
    ArithmeticError,
    Image.DecompressionBombError,
    LookupError,
    OSError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
)


def decode(content: bytes, max_pixels: int = MAX_PIXELS, bits: int | None = None) -> Pixels:
    """Decode PNG, JPEG, BMP, TIFF or WebP bytes to uint8 RGB `[H, W, 3]`, grey ones to `[H, W]`.

    16 bits are scaled to 8, from the lowest `bits` of them or else from all; alpha is dropped. The
    header is read before a pixel is allocated, so a forged size costs nothing.
    Raises ImageError with reason `empty`, `not_an_image`, `too_large`, `truncated`, `corrupt`,
    `bit_depth`, `source_bits` (values beyond `bits`, or of fewer bits while none are given),
    `several_images` (pages or an animation: the first would stand for all) or `too_small`;
    MemoryError when there is no memory for the pixels.
    """
    kind = _require_plausible(content, max_pixels)
    mode = _jpeg_mode(content) if kind == "JPEG" else None
    if mode is not None:
        return _large_enough(_read_jpeg(content, mode))
    image = _read(content, kind, cv2.IMREAD_UNCHANGED)
    if image.ndim == 3 and image.shape[2] == 4:
        image = image[..., :3]
    image = _to_8_bit(image, bits)
    return image if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def decode_rgb(content: bytes, max_pixels: int = MAX_PIXELS, bits: int | None = None) -> Pixels:
    """Decode to uint8 RGB `[H, W, 3]`, as `decode` does; grey becomes three equal channels."""
    return to_rgb(decode(content, max_pixels, bits))


def decode_grey(content: bytes, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Decode a mask to uint8 grey `[H, W]`, with the limits and errors of `decode`.

    16 bits are scaled to 8 and rounded up: what is not black stays so.
    """
    # Like `decode`, which does not turn an image either.
    mode = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    image = _read(content, _require_plausible(content, max_pixels), mode)
    if image.dtype == np.uint16:
        return np.ceil(image / 257.0).astype(np.uint8)  # type: ignore[operator, no-any-return]
    return _to_8_bit(image)


def varies_in_alpha(content: bytes) -> bool:
    """Whether an image that `decode_grey` accepts is clear in some places and not in others."""
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 3 or image.shape[2] != 4:
        return False
    return bool(np.ptp(image[..., 3]))


def to_rgb(image: Pixels) -> Pixels:
    """Three equal channels of grey `[H, W]`; RGB as it is."""
    if image.ndim == 3:
        return image
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB), np.uint8)


def resize_rgb(image: Pixels, size: tuple[int, int]) -> Pixels:
    """Resize RGB `[H, W, 3]` or grey `[H, W]` to `size` (height, width); all models are fed so."""
    if image.shape[:2] == tuple(size):
        return image
    resized = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.uint8)


def to_batch(images: list[Pixels], size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Resize and stack to float32 `[N, 3, H, W]`, 0-255: the input of every ONNX model."""
    batch = np.stack([resize_rgb(image, size) for image in images])
    return np.ascontiguousarray(batch.transpose(0, 3, 1, 2), dtype=np.float32)


def _require_plausible(content: bytes, max_pixels: int) -> str:
    """The format of a file of one image whose size is within the limit, and that has an end."""
    kind = sniff(content)
    height, width = header_size(content, kind)
    if height * width > max_pixels:
        msg = f"header says {width} x {height} pixels; at most {max_pixels} are accepted"
        raise ImageError("too_large", msg)
    if _is_cut_short(content, kind):
        msg = f"the {kind} ends before its end marker"
        raise ImageError("truncated", msg)
    if has_more_images(content, kind):
        msg = f"the {kind} has several images; a file of each is needed, so that all are looked at"
        raise ImageError("several_images", msg)
    return kind


def _read(content: bytes, kind: str, mode: int) -> npt.NDArray[np.generic]:
    _require_intact(content, kind)
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), mode)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            # The image is well: the step has to be run again with more memory.
            raise MemoryError(str(error)) from error
        raise ImageError("truncated", f"the {kind} cannot be decoded: {error}") from error
    if image is None:
        raise ImageError("truncated", f"the {kind} cannot be decoded")
    return _large_enough(np.asarray(image))


def _large_enough(image: npt.NDArray[Kind]) -> npt.NDArray[Kind]:
    if min(image.shape[:2]) < _MIN_SIDE:
        msg = f"{image.shape[1]} x {image.shape[0]} pixels; at least {_MIN_SIDE} a side"
        raise ImageError("too_small", msg)
    return image


def _is_cut_short(content: bytes, kind: str) -> bool:
    # OpenCV fills the missing rest of a cut JPEG with grey and says nothing: a defect could be
    # in that rest, so the end marker is asked for. Trailing zero padding is harmless.
    if kind == "JPEG":
        return not content.rstrip(b"\x00").endswith(b"\xff\xd9")
    if kind == "PNG":
        return b"IEND" not in content[-64:]
    return False


def _require_intact(content: bytes, kind: str) -> None:
    """Read JPEG and TIFF with a decoder that raises where OpenCV prints a warning and goes on."""
    if kind == "JPEG":
        # Grey at an eighth of the size: the cheapest way to read every bit of the scans.
        _read_jpeg(content, "GRAY", min_height=1, min_width=1)
    elif kind == "TIFF":
        # Some of them Pillow cannot read, and would call damaged.
        bits, is_float = tiff_sample(content)
        if is_float or bits > 16:
            kind_of = "floating-point" if is_float else "integer"
            msg = f"{bits}-bit {kind_of} pixels; integers of 8 or 16 bits are accepted"
            raise ImageError("bit_depth", msg)
        try:
            TiffImagePlugin.TiffImageFile(io.BytesIO(content)).load()
        except _DAMAGE as error:
            raise ImageError("corrupt", f"the TIFF is damaged: {error}") from error


def _jpeg_mode(content: bytes) -> str | None:
    """What simplejpeg makes of a JPEG, with OpenCV's pixels; None of one for print (CMYK)."""
    try:
        space = simplejpeg.decode_jpeg_header(content)[2]
    except _DAMAGE as error:
        raise ImageError("corrupt", f"the JPEG is damaged: {error}") from error
    return {"Gray": "GRAY", "YCbCr": "RGB", "RGB": "RGB"}.get(space)


def _read_jpeg(content: bytes, mode: str, **least: int) -> Pixels:
    try:
        image = simplejpeg.decode_jpeg(content, mode, strict=True, **least)
    except _DAMAGE as error:
        if "insufficient memory" in str(error).lower():
            raise MemoryError(str(error)) from error
        raise ImageError("corrupt", f"the JPEG is damaged: {error}") from error
    return np.asarray(image[..., 0] if mode == "GRAY" else image, np.uint8)


def _to_8_bit(image: npt.NDArray[np.generic], bits: int | None = None) -> Pixels:
    if image.dtype == np.uint8:
        return image  # type: ignore[return-value]
    if image.dtype != np.uint16:
        raise ImageError("bit_depth", f"{image.dtype} pixels; 8 or 16 bit are accepted")
    highest, most = int(np.max(image)), 2 ** (bits or 16) - 1
    if highest > most:
        msg = f"16-bit pixels up to {highest}; `source.bits` = {bits} ends at {most}"
        raise ImageError("source_bits", msg)
    if bits is None and highest < _NARROW:
        msg = (
            f"16-bit pixels up to {highest}, as of a camera of fewer bits: set `source.bits` to "
            "those of the camera (16 where it uses them all), then train anew"
        )
        raise ImageError("source_bits", msg)
    return (image * (255.0 / most) + 0.5).astype(np.uint8)  # type: ignore[no-any-return]
