"""The leak guard: no group, no byte duplicate and no copy of a part crosses a split."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from ml.data.copies import find_copies
from ml.data.dataset import read_rgb
from ml.errors import LeakError
from ml.imaging import Pixels
from ml.settings import Home

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Leak:
    """Two images in different splits that must not be.

    `kind` is `group`, `sha256` or `copy`; `how` says how a copy was laid over the other, `score`
    how well they agree (0 to 1; 1 where it is not a copy).
    """

    kind: str
    first: str
    second: str
    how: str = ""
    score: float = 1.0

    def as_row(self) -> dict[str, Any]:
        """For a JSON result."""
        return asdict(self) | {"score": round(self.score, 3)}


def find_leaks(home: Home, rows: Rows) -> list[Leak]:
    """Every pair of accepted images that crosses. Rows: `sha256`, `object`, `group`, `split`."""
    return leaks_among(rows, lambda row: read_rgb(home, row["sha256"]))


def leaks_among(
    rows: Rows, read: Callable[[dict[str, Any]], Pixels], threads: int = 1
) -> list[Leak]:
    """As `find_leaks`, for images that lie anywhere: `read` gives the RGB pixels of a row."""
    rows = sorted(rows, key=lambda row: (row["sha256"], row["object"]))
    splits = [row["split"] for row in rows]
    found = find_copies(len(rows), lambda i: read(rows[i]), splits, threads=threads)
    copies = [
        Leak("copy", rows[c.first]["object"], rows[c.second]["object"], c.how, c.score)
        for c in found
        if rows[c.first]["sha256"] != rows[c.second]["sha256"]
    ]
    return [*crossing(rows, "group"), *crossing(rows, "sha256"), *copies]


def joined_groups(
    home: Home, rows: Rows, bits: int | None = None, *, threads: int = 1
) -> dict[str, str]:
    """Each group → the first name among the groups that show the same part, itself included.

    A manifest that misses a copy would else put one part into training and test. `bits` is the
    line's `source.bits`.
    """
    rows = sorted(rows, key=lambda row: row["sha256"])
    leader = {row["group"]: row["group"] for row in rows}

    def find(group: str) -> str:
        while leader[group] != group:
            group = leader[group]
        return group

    def read(index: int) -> Pixels:
        return read_rgb(home, rows[index]["sha256"], bits)

    groups = [row["group"] for row in rows]
    for copy in find_copies(len(rows), read, groups, threads=threads):
        first, second = sorted((find(groups[copy.first]), find(groups[copy.second])))
        leader[second] = first
    return {group: find(group) for group in leader}


def guard(leaks: list[Leak]) -> None:
    """Raise LeakError naming the offending pairs, if there are any."""
    if not leaks:
        return
    shown = "\n".join(f"  {describe(leak)}" for leak in leaks[:20])
    more = f"\n  and {len(leaks) - 20} more" if len(leaks) > 20 else ""
    msg = (
        f"{len(leaks)} pairs cross the split; give them the same `group` "
        f"(source.layout.pattern or columns):\n{shown}{more}"
    )
    raise LeakError(msg)


def describe(leak: Leak) -> str:
    """One line for a person."""
    how = f" ({leak.how}, score {leak.score:.2f})" if leak.how else ""
    return f"{leak.kind}: {leak.first} and {leak.second}{how}"


def crossing(rows: Rows, field: str) -> Iterator[Leak]:
    """Values of `field` that lie in several splits: one pair of images for each further split."""
    first_of: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for row in rows:
        first_of[row[field]].setdefault(row["split"], row)
    for splits in first_of.values():
        found = list(splits.values())
        for other in found[1:]:
            yield Leak(field, found[0]["object"], other["object"])
