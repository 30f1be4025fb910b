"""The leak guard: no group, no byte duplicate and no near duplicate crosses a split."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ml.data.dataset import read_rgb
from ml.errors import LeakError
from ml.settings import Home

# Perceptual hashes this close are only candidates; parts in front of a fixed camera all look alike.
_HASH_BITS = 10
# High-pass correlation above which two images show the same thing: 0.98 and more between
# re-encoded copies, below 0.9 between different parts of the sets that this was measured on.
_SAME_CORRELATION = 0.96
_SIDE = 96
_BLOCK_ROWS = 512


@dataclass(frozen=True)
class Leak:
    """Two images in different splits that must not be."""

    kind: str
    first: str
    second: str


def find_leaks(home: Home, rows: list[dict[str, Any]]) -> list[Leak]:
    """Every pair that crosses. Rows have `sha256`, `object`, `group`, `split`, `phash`."""
    return [*_crossing(rows, "group"), *_crossing(rows, "sha256"), *_near_duplicates(home, rows)]


def guard(leaks: list[Leak]) -> None:
    """Raise LeakError naming the offending pairs, if there are any."""
    if not leaks:
        return
    shown = "\n".join(f"  {leak.kind}: {leak.first} and {leak.second}" for leak in leaks[:20])
    more = f"\n  and {len(leaks) - 20} more" if len(leaks) > 20 else ""
    msg = (
        f"{len(leaks)} pairs cross the split; give them the same `group` "
        f"(source.layout.pattern or columns):\n{shown}{more}"
    )
    raise LeakError(msg)


def _crossing(rows: list[dict[str, Any]], field: str) -> Iterator[Leak]:
    first_of: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for row in rows:
        first_of[row[field]].setdefault(row["split"], row)
    for splits in first_of.values():
        found = list(splits.values())
        for other in found[1:]:
            yield Leak(field, found[0]["object"], other["object"])


def _near_duplicates(home: Home, rows: list[dict[str, Any]]) -> Iterator[Leak]:
    sides: dict[str, npt.NDArray[np.float32]] = {}
    for a, b in _candidates(rows):
        for row in (rows[a], rows[b]):
            if row["sha256"] not in sides:
                sides[row["sha256"]] = _high_pass(home, row["sha256"])
        first, second = sides[rows[a]["sha256"]], sides[rows[b]["sha256"]]
        if float((first * second).mean()) > _SAME_CORRELATION:
            yield Leak("near duplicate", rows[a]["object"], rows[b]["object"])


def _candidates(rows: list[dict[str, Any]]) -> Iterator[tuple[int, int]]:
    """Pairs in different splits whose perceptual hashes differ in few bits."""
    hashes = np.array([int(row["phash"], 16) for row in rows], np.uint64)
    splits = np.array([row["split"] for row in rows])
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        distance = np.bitwise_count(hashes[block, None] ^ hashes[None, :])
        close = (distance <= _HASH_BITS) & (splits[block, None] != splits[None, :])
        for a, b in np.argwhere(close):
            if a + start < b:
                yield int(a + start), int(b)


def _high_pass(home: Home, sha256: str) -> npt.NDArray[np.float32]:
    """A small, blurred-out, standardised grey copy: light and gradients do not count."""
    grey = cv2.cvtColor(read_rgb(home, sha256), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    detail = small - cv2.GaussianBlur(small, (0, 0), 4)
    return np.asarray((detail - detail.mean()) / (detail.std() + 1e-6), np.float32)
