"""The demo line: a brushed plate with drilled holes, photographed over six days.

Each part has two exposures, about a third have one of four defects with a mask, and some files are
broken, duplicate or of the wrong size, so that every branch of the pipeline has something to do.
On the last day the light is different. Equal seeds give equal bytes.
"""

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ml import files

Grey = npt.NDArray[np.float32]

FIRST_DAY = date(2026, 1, 5)
DAYS = 6
PARTS_PER_DAY = 30
SIDE = 128
EXPOSURES = (1.0, 0.85)
DEFECT_SHARE = 0.35
PARTS_PER_LOT = 10


@dataclass(frozen=True)
class _Part:
    serial: int
    lot: int
    camera: str
    captured_at: datetime
    defect_type: str
    seed: int

    def stem(self, exposure: int) -> str:
        stamp = self.captured_at.strftime("%Y%m%dT%H%M%S")
        return f"p{self.serial:04d}_lot{self.lot:02d}_{self.camera}_e{exposure}_{stamp}"


def demo_days() -> list[str]:
    """The days on which the demo line produced, first to last."""
    return [(FIRST_DAY + timedelta(days=day)).isoformat() for day in range(DAYS)]


def write_demo_images(folder: Path, seed: int) -> tuple[int, int]:
    """Write images, masks and manifest.csv; files that are there already stay as they are.

    Returns how many files were written and how many were kept.
    """
    written = kept = 0
    for name, content in demo_files(seed):
        path = folder / name
        if path.exists() and path.read_bytes() == content:
            kept += 1
        else:
            files.write_bytes(path, content)
            written += 1
    return written, kept


def demo_files(seed: int) -> Iterator[tuple[str, bytes]]:
    """Every file of the demo line as (name, bytes)."""
    labels: list[tuple[str, str]] = []
    for part in _parts(seed):
        for name, content in _photographs(part):
            yield name, content
            if name.startswith("images/"):
                labels.append((name, part.defect_type or "ok"))
    for name, content in _troublesome(seed):
        yield name, content
    yield "manifest.csv", _manifest(labels)


def _parts(seed: int) -> Iterator[_Part]:
    random = np.random.default_rng(seed)
    kinds = list(_DEFECTS)
    for serial in range(DAYS * PARTS_PER_DAY):
        day, of_day = divmod(serial, PARTS_PER_DAY)
        morning = datetime.combine(FIRST_DAY + timedelta(days=day), time(6))
        defective = random.random() < DEFECT_SHARE
        yield _Part(
            serial=serial,
            lot=serial // PARTS_PER_LOT,
            camera="north" if serial % 2 else "south",
            captured_at=morning + timedelta(minutes=15 * of_day),
            defect_type=kinds[int(random.integers(len(kinds)))] if defective else "",
            seed=int(random.integers(2**31)),
        )


def _photographs(part: _Part) -> Iterator[tuple[str, bytes]]:
    random = np.random.default_rng(part.seed)
    plate = _plate(random)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    if part.defect_type:
        plate, mask = _DEFECTS[part.defect_type](plate, random)
    last_day = part.captured_at.date() == FIRST_DAY + timedelta(days=DAYS - 1)
    for number, exposure in enumerate(EXPOSURES):
        image = _photograph(plate, exposure, last_day, random)
        yield f"images/{part.stem(number)}.png", _png(image)
        if part.defect_type:
            yield f"masks/{part.stem(number)}.png", _png(mask)


def _plate(random: np.random.Generator) -> Grey:
    """A brushed surface, 0-255, with four holes; every plate has its own brush marks."""
    marks = random.normal(0, 1, (SIDE, SIDE)).astype(np.float32)
    brushed = cv2.GaussianBlur(marks, (0, 0), sigmaX=7, sigmaY=0.6)
    plate = 150 + 16 * brushed / brushed.std() + random.normal(0, 3)
    for x in (30, 98):
        for y in (30, 98):
            centre = (x + int(random.integers(-2, 3)), y + int(random.integers(-2, 3)))
            hole = cv2.circle(np.zeros((SIDE, SIDE), np.float32), centre, 9, 1.0, -1)
            plate = plate * (1 - hole) + 45 * hole
    return np.asarray(plate, np.float32)


def _photograph(
    plate: Grey, exposure: float, changed_light: bool, random: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Grey plate to RGB with exposure, falling-off light and sensor noise."""
    ramp = np.linspace(-1, 1, SIDE, dtype=np.float32)
    light = exposure * (1 - 0.06 * (ramp[:, None] ** 2 + ramp[None, :] ** 2))
    tint = np.array([1.0, 1.0, 1.0], np.float32)
    if changed_light:
        # A failing lamp: darker, warmer and from one side.
        light = light * (0.78 + 0.18 * ramp[None, :])
        tint = np.array([1.06, 1.0, 0.86], np.float32)
    image = (plate * light)[..., None] * tint + random.normal(0, 3, (SIDE, SIDE, 3))
    return np.clip(image, 0, 255).astype(np.uint8)


_Damaged = tuple[Grey, npt.NDArray[np.uint8]]


def _blend(plate: Grey, mask: npt.NDArray[np.uint8], value: float, strength: float) -> _Damaged:
    soft = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), 0.7) * strength
    return np.asarray(plate * (1 - soft) + value * soft, np.float32), mask


def _point(random: np.random.Generator) -> tuple[int, int]:
    return int(random.integers(22, SIDE - 22)), int(random.integers(22, SIDE - 22))


def _scratch(plate: Grey, random: np.random.Generator) -> _Damaged:
    start, angle = _point(random), random.uniform(0.3, np.pi - 0.3)
    length = random.uniform(25, 60)
    end = (int(start[0] + length * np.cos(angle)), int(start[1] + length * np.sin(angle)))
    mask = np.zeros((SIDE, SIDE), np.uint8)
    cv2.line(mask, start, end, 255, int(random.integers(2, 4)), cv2.LINE_8)
    return _blend(plate, mask, 235, 0.85)


def _pit(plate: Grey, random: np.random.Generator) -> _Damaged:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for _ in range(int(random.integers(2, 6))):
        cv2.circle(mask, _point(random), int(random.integers(2, 5)), 255, -1)
    return _blend(plate, mask, 55, 0.9)


def _stain(plate: Grey, random: np.random.Generator) -> _Damaged:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    axes = (int(random.integers(9, 20)), int(random.integers(7, 14)))
    cv2.ellipse(mask, _point(random), axes, random.uniform(0, 180), 0, 360, 255, -1)
    return _blend(plate, mask, 95, 0.75)


def _chip(plate: Grey, random: np.random.Generator) -> _Damaged:
    size = int(random.integers(10, 24))
    at = int(random.integers(10, SIDE - 10))
    corners = np.array([[at - size, 0], [at + size // 2, 0], [at, size]], np.int32)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillPoly(mask, [corners], 255)
    turns = int(random.integers(4))
    return _blend(plate, np.ascontiguousarray(np.rot90(mask, turns)), 20, 0.95)


_DEFECTS: dict[str, Callable[[Grey, np.random.Generator], _Damaged]] = {
    "scratch": _scratch,
    "pit": _pit,
    "stain": _stain,
    "chip": _chip,
}


def _troublesome(seed: int) -> Iterator[tuple[str, bytes]]:
    """Files that must not be accepted: two on each of the first four days."""
    random = np.random.default_rng([seed, 1])
    good = _photograph(_plate(random), 1.0, changed_light=False, random=random)
    wrong_size = cv2.resize(good, (90, 90), interpolation=cv2.INTER_AREA)
    jpeg = cv2.imencode(".jpg", good[..., ::-1])[1].tobytes()
    first = next(_parts(seed))
    copy = dict(_photographs(first))[f"images/{first.stem(0)}.png"]
    broken = [
        ("truncated", "png", _png(good)[: len(_png(good)) // 2]),
        ("cut", "jpg", jpeg[: len(jpeg) * 2 // 3]),
        ("text", "png", b"this is not an image\n"),
        ("speck", "png", _png(good[:1, :1])),
        ("small", "png", _png(wrong_size)),
        ("dark", "png", _png((good * 0.0).astype(np.uint8))),
        ("zcopy", "png", copy),
        ("zagain", "png", copy),
    ]
    for number, (name, suffix, content) in enumerate(broken):
        stamp = f"{FIRST_DAY + timedelta(days=number % 4):%Y%m%d}T2200{number:02d}"
        yield f"images/{name}_lot99_north_e0_{stamp}.{suffix}", content


def _png(image: npt.NDArray[Any]) -> bytes:
    bgr = image[..., ::-1] if image.ndim == 3 else image
    return cv2.imencode(".png", np.ascontiguousarray(bgr))[1].tobytes()


def _manifest(labels: list[tuple[str, str]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([("path", "label"), *sorted(labels)])
    return text.getvalue().encode()
