"""What the first bytes of an image file say, read before a pixel is allocated."""

import struct
from collections.abc import Iterator

from ml.errors import ImageError

_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"BM": "BMP",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"RIFF": "WebP",
}
_TIFF_SUBFILE, _TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_BITS, _TIFF_FORMAT = 254, 256, 257, 258, 339
_TIFF_TAGS = {_TIFF_SUBFILE, _TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_BITS, _TIFF_FORMAT}
_TIFF_SHORT = 3
_TIFF_PREVIEW = 1
_TIFF_FLOAT = 3
_WEBP_ANIMATION = 2
_JPEG_SCAN, _JPEG_APP2, _JPEG_SEGMENT = 0xDA, 0xE2, 1 << 16
_MPF, _MPF_PICTURES, _MPF_PREVIEW = b"MPF\0", 0xB002, 1


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
    except (struct.error, IndexError, StopIteration):
        size = None
    if size is None:
        raise ImageError("truncated", f"the {kind} has no readable header")
    return size


def has_more_images(content: bytes, kind: str) -> bool:
    """Whether there are images behind the first: pages or pictures (MPO) that are no previews, or
    an animation.

    Raises ImageError `truncated` where they would lie behind the end of the file.
    """
    if kind == "WebP":
        return content[12:16] == b"VP8X" and bool(content[20] & _WEBP_ANIMATION)
    try:
        if kind == "PNG":
            return _is_animated_png(content)
        if kind == "JPEG":
            return _has_more_pictures(content)
        return kind == "TIFF" and any(map(_is_full, list(_tiff_directories(content))[1:]))
    except (struct.error, IndexError):
        msg = f"the {kind} ends within its headers"
        raise ImageError("truncated", msg) from None


def tiff_sample(content: bytes) -> tuple[int, bool]:
    """The bits of a sample in the first image of a TIFF, and whether it is floating-point."""
    first = next(_tiff_directories(content))
    return first.get(_TIFF_BITS, 1), first.get(_TIFF_FORMAT) == _TIFF_FLOAT


def _png_size(content: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", content, 16)
    return height, width


def _bmp_size(content: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<ii", content, 18)
    return abs(height), abs(width)


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    # The start-of-frame has both sides.
    for marker, place in _jpeg_segments(content):
        if marker in range(0xC0, 0xD0) and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", content, place + 1)
            return height, width
    return None


def _jpeg_segments(content: bytes) -> Iterator[tuple[int, int]]:
    """Marker and place of what follows its length, of each segment before the first scan."""
    # ITU-T T.81: marker segments, with fill bytes.
    position = 2
    while content[position] == 0xFF:
        marker = content[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker == _JPEG_SCAN:
            return
        yield marker, position + 4
        position += 2 + struct.unpack_from(">H", content, position + 2)[0]


def _has_more_pictures(content: bytes) -> bool:
    for marker, place in _jpeg_segments(content):
        if marker == _JPEG_APP2 and content.startswith(_MPF, place):
            index = content[place + len(_MPF) : place + _JPEG_SEGMENT]
            return any(kind != _MPF_PREVIEW for kind in _mpf_kinds(index)[1:])
    return False


def _mpf_kinds(index: bytes) -> list[int]:
    """The kind of each picture that a multi-picture file lists, that of the first included."""
    # CIPA DC-007: a directory like a TIFF's; 16 bytes for each picture, which begin with its kind.
    order = "<" if index.startswith(b"II") else ">"
    (place,) = struct.unpack_from(order + "I", index, 4)
    (entries,) = struct.unpack_from(order + "H", index, place)
    for at in range(place + 2, place + 2 + 12 * entries, 12):
        tag, _, size, value = struct.unpack_from(order + "HHII", index, at)
        if tag == _MPF_PICTURES:
            pictures = range(value, value + size, 16)
            return [struct.unpack_from(order + "I", index, one)[0] >> 16 & 0xFF for one in pictures]
    return []


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


def _is_animated_png(content: bytes) -> bool:
    # `acTL` stands before the pixels.
    position = 8
    while (name := content[position + 4 : position + 8]) not in (b"IDAT", b"IEND"):
        if name == b"acTL":
            return True
        position += 12 + int(struct.unpack_from(">I", content, position)[0])
    return False


def _tiff_size(content: bytes) -> tuple[int, int] | None:
    first = next(_tiff_directories(content))
    if not {_TIFF_WIDTH, _TIFF_HEIGHT} <= first.keys():
        return None
    return first[_TIFF_HEIGHT], first[_TIFF_WIDTH]


def _is_full(directory: dict[int, int]) -> bool:
    return _TIFF_WIDTH in directory and not directory.get(_TIFF_SUBFILE, 0) & _TIFF_PREVIEW


def _tiff_directories(content: bytes) -> Iterator[dict[int, int]]:
    """Tag → first value of each directory, of the tags that are used here."""
    # TIFF 6.0: entries of tag, type, count and value, and then where the next directory lies.
    order = "<" if content.startswith(b"II") else ">"
    (place,) = struct.unpack_from(order + "I", content, 4)
    seen = set[int]()
    # One that names itself as the next would never end.
    while place and place not in seen:
        seen.add(place)
        (entries,) = struct.unpack_from(order + "H", content, place)
        yield dict(_tiff_values(content, order, place + 2, entries))
        (place,) = struct.unpack_from(order + "I", content, place + 2 + 12 * entries)


def _tiff_values(content: bytes, order: str, place: int, entries: int) -> Iterator[tuple[int, int]]:
    for at in range(place, place + 12 * entries, 12):
        tag, kind, count = struct.unpack_from(order + "HHI", content, at)
        if tag not in _TIFF_TAGS:
            continue
        form, size = ("H", 2) if kind == _TIFF_SHORT else ("I", 4)
        at_value = at + 8
        if count * size > 4:
            (at_value,) = struct.unpack_from(order + "I", content, at_value)
        yield tag, struct.unpack_from(order + form, content, at_value)[0]


_READERS = {
    "PNG": _png_size,
    "JPEG": _jpeg_size,
    "BMP": _bmp_size,
    "WebP": _webp_size,
    "TIFF": _tiff_size,
}
