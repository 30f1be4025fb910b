"""Defects drawn by hand, as labelme keeps them: one JSON document an image."""

import base64
import binascii
import json
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ml.errors import ImageError
from ml.imaging.decode import decode_grey

Mask = npt.NDArray[np.bool_]

# Outlines are filled at so many times the image's size; a pixel is in by the larger part of it.
_FINER = 4
# Bits behind the point of OpenCV's coordinates.
_SHIFT = 4
_FULL = 254
# labelme lets an outline end on the image's edge, older versions a little beyond.
_BEYOND = 2.0
_SIDES = ("imageHeight", "imageWidth")
# Set on a document without shapes, they say what it says anyway.
_GOOD_FLAGS = {"good", "ok"}
# What reading a document raises that is not as labelme writes one.
_DAMAGED = (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError)


def is_drawn(content: bytes) -> bool:
    """Whether a mask is a JSON document instead of an image."""
    return content[:64].removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")


def read_drawn(content: bytes, size: tuple[int, int]) -> tuple[Mask, tuple[str, ...]]:
    """The mask `[H, W]` of a labelme document for an image of `size`, and the labels in it.

    Labels are in small letters, the one with the most pixels first. Shapes are polygons,
    rectangles, circles and masks; a document without any marks a good part. Raises ImageError with
    reason `mask_size` for one drawn on an image of another size, and `mask_unreadable` for one that
    is damaged, has a shape without an area in the image, or a flag that is set and no shape.
    """
    try:
        document = json.loads(content.decode("utf-8-sig"))
        drawn_on = tuple(document.get(side) or own for side, own in zip(_SIDES, size, strict=True))
        if drawn_on != size:
            msg = f"drawn on an image of {drawn_on} pixels, this one has {size}"
            raise ImageError("mask_size", msg)
        if not isinstance(document["shapes"], list):
            msg = "its shapes are no list"
            raise TypeError(msg)
        shapes = [(_label(shape), _mask(shape, size)) for shape in document["shapes"]]
        flags = (document.get("flags") or {}).items()
        said = sorted(name for name, is_set in flags if is_set and name.lower() not in _GOOD_FLAGS)
    except _DAMAGED as error:
        msg = f"not a labelme document: {type(error).__name__}: {error}"
        raise ImageError("mask_unreadable", msg) from error
    if said and not shapes:
        # Somebody said something of this part, which may be that it is bad.
        named = ", ".join(map(repr, said))
        msg = f"the flag {named} is set and nothing is drawn; draw it, or clear the flag"
        raise ImageError("mask_unreadable", msg)
    whole, areas = np.zeros(size, bool), dict[str, int]()
    for label, mask in shapes:
        if not mask.any():
            # Left out, the defect that somebody drew would count as good.
            msg = f"the shape {label!r} covers no pixel of the image; draw it again"
            raise ImageError("mask_unreadable", msg)
        whole |= mask
        areas[label] = areas.get(label, 0) + int(mask.sum())
    return whole, tuple(sorted(areas, key=lambda label: (-areas[label], label)))


def _label(shape: dict[str, Any]) -> str:
    label = str(shape["label"]).strip().lower()
    if not label:
        msg = "a shape has no label"
        raise ValueError(msg)
    return label


def _mask(shape: dict[str, Any], size: tuple[int, int]) -> Mask:
    # Old versions leave the type of a polygon out.
    kind = shape.get("shape_type") or "polygon"
    points = np.array(shape["points"], np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        msg = f"the points of a {kind} are no pairs of numbers"
        raise ValueError(msg)
    outside = max(float(-points.min()), float((points - np.array(size)[::-1]).max()))
    if outside > _BEYOND:
        msg = f"a {kind} ends {outside:.0f} pixels outside of the image of {size}"
        raise ImageError("mask_size", msg)
    if kind == "mask":
        return _pasted(shape["mask"], points, size)
    return _filled(_outline(kind, points), size)


def _outline(kind: str, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    if kind == "rectangle" and len(points) == 2:
        (left, top), (right, bottom) = points
        return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    if kind == "circle" and len(points) == 2:
        centre, rim = points
        angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
        ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        return np.asarray(centre + np.linalg.norm(rim - centre) * ring)
    if kind in ("polygon", "rectangle", "oriented_rectangle") and len(points) >= 3:
        return points
    msg = f"a {kind} of {len(points)} points has no area; draw a polygon around the defect"
    raise ImageError("mask_unreadable", msg)


def _filled(outline: npt.NDArray[np.float64], size: tuple[int, int]) -> Mask:
    """The pixels inside an outline; of one thinner than a pixel those that it covers most."""
    limit = np.array(size)[::-1]
    low = np.clip(np.floor(outline.min(axis=0)), 0, limit - 1).astype(int)
    high = np.clip(np.ceil(outline.max(axis=0)), low + 1, limit).astype(int)
    width, height = high - low
    fine = np.zeros((height * _FINER, width * _FINER), np.uint8)
    # A whole number is the middle of a pixel to OpenCV, and its upper left corner to labelme.
    corners = ((outline - low) * _FINER - 0.5) * 2**_SHIFT
    path = [np.rint(corners).astype(np.int32)]
    cv2.fillPoly(fine, path, _FULL, shift=_SHIFT)
    # OpenCV fills what the outline touches; by half, areas come out right.
    cv2.polylines(fine, path, isClosed=True, color=_FULL // 2, shift=_SHIFT)
    share = cv2.resize(fine, (int(width), int(height)), interpolation=cv2.INTER_AREA)
    mask = np.zeros(size, bool)
    inside = (share > 0) & (share >= min(_FULL // 2, int(share.max())))
    mask[low[1] : high[1], low[0] : high[0]] = inside
    return mask


def _pasted(encoded: str, points: npt.NDArray[np.float64], size: tuple[int, int]) -> Mask:
    """A PNG in base64 whose upper left corner is the first of two points."""
    try:
        content = base64.b64decode(encoded, validate=True)
        piece = decode_grey(content, max_pixels=size[0] * size[1]) > 0
    except (binascii.Error, ImageError) as error:
        raise ImageError("mask_unreadable", f"a shape's own mask: {error}") from error
    left, top = np.rint(points.min(axis=0)).astype(int).clip(0)
    mask = np.zeros(size, bool)
    place = mask[top : top + piece.shape[0], left : left + piece.shape[1]]
    if place.shape != piece.shape:
        msg = f"a mask of {piece.shape} pixels ends outside of the image of {size}"
        raise ImageError("mask_size", msg)
    place[:] = piece
    return mask
