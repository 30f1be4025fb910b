"""What the first bytes of an image file say, read before a pixel is allocated."""

import struct

from ml.errors import ImageError

_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"BM": "BMP",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"RIFF": "WebP",
}
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
_TIFF_SHORT = 3


def sniff(content: bytes) -> str:
    """The image format by its first bytes; raises ImageError `empty` or `not_an_image`."""
    if not content:
        raise ImageError("empty", "the file is empty")
    for signature, kind in _SIGNATURES.items():
        if content.startswith(signature):
            return kind
    msg = f"not an image: it begins with {content[:8]!r}"
    raise ImageError("not_an_image", msg)


def header_size(content: bytes, kind: str) -> tuple[int, int]:
    """(height, width) as the header says; raises ImageError `truncated` where it does not."""
    try:
        size = _READERS[kind](content)
    except (struct.error, IndexError):
        size = None
    if size is None:
        raise ImageError("truncated", f"the {kind} has no readable header")
    return size


def _png_size(content: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", content, 16)
    return height, width


def _bmp_size(content: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<ii", content, 18)
    return abs(height), abs(width)


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    # ITU-T T.81: marker segments, with fill bytes, up to the start-of-frame with both sides.
    position = 2
    while content[position] == 0xFF:
        marker = content[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker in range(0xC0, 0xD0) and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", content, position + 5)
            return height, width
        position += 2 + struct.unpack_from(">H", content, position + 2)[0]
    return None


def _webp_size(content: bytes) -> tuple[int, int] | None:
    # RFC 9649: the first chunk is extended, lossless or lossy.
    chunk = content[12:16]
    if chunk == b"VP8X":
        sides = content[24:30] + bytes(2)
        return int.from_bytes(sides[3:6], "little") + 1, int.from_bytes(sides[:3], "little") + 1
    if chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", content, 21)
        return ((bits >> 14) & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    if chunk == b"VP8 ":
        width, height = struct.unpack_from("<HH", content, 26)
        return height & 0x3FFF, width & 0x3FFF
    return None


def _tiff_size(content: bytes) -> tuple[int, int] | None:
    # TIFF 6.0: the first directory, entries of tag, type, count and value.
    order = "<" if content.startswith(b"II") else ">"
    (directory,) = struct.unpack_from(order + "I", content, 4)
    (entries,) = struct.unpack_from(order + "H", content, directory)
    sides = {}
    for number in range(entries):
        at = directory + 2 + 12 * number
        tag, kind = struct.unpack_from(order + "HH", content, at)
        if tag in (_TIFF_WIDTH, _TIFF_HEIGHT):
            form = "H" if kind == _TIFF_SHORT else "I"
            (sides[tag],) = struct.unpack_from(order + form, content, at + 8)
    if len(sides) < 2:
        return None
    return sides[_TIFF_HEIGHT], sides[_TIFF_WIDTH]


_READERS = {
    "PNG": _png_size,
    "JPEG": _jpeg_size,
    "BMP": _bmp_size,
    "WebP": _webp_size,
    "TIFF": _tiff_size,
}
