"""How fast each stage of the night is, and which one the others wait for.

Measured times differ from run to run, so they are in no table and no document: they lie in
`speed/<line>/<day>/`, one file for each process, named by its first shard.
"""

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from ml import files
from ml.settings import Home

Item = TypeVar("Item")
Out = TypeVar("Out")
Record = dict[str, Any]


class Stage:
    """One stage of a pipeline: its workers, what they have done, and how long they were busy."""

    def __init__(self, name: str, workers: int) -> None:
        self.name = name
        self.workers = workers
        self.images = 0
        self.busy_s = 0.0
        self._lock = threading.Lock()

    def timed(
        self, work: Callable[[Item], Out], images: Callable[[Item], int] = lambda _: 1
    ) -> Callable[[Item], Out]:
        """`work`, counted; `images` says how many images an item has."""

        def counted(item: Item) -> Out:
            started = time.monotonic()
            try:
                return work(item)
            finally:
                spent = time.monotonic() - started
                with self._lock:
                    self.images += images(item)
                    self.busy_s += spent

        return counted

    def record(self) -> Record:
        """Images, worker seconds and `images_per_s`, with no other stage to wait for."""
        seconds = max(self.busy_s, 1e-6)
        return {
            "workers": self.workers,
            "images": self.images,
            "busy_s": round(self.busy_s, 3),
            "images_per_s": round(self.images * self.workers / seconds, 1),
        }


def binding(stages: dict[str, Record]) -> str:
    """The slowest stage, which the others wait for; empty when there is none."""
    worked = {name: one["images_per_s"] for name, one in stages.items() if one["images"]}
    return min(worked, key=lambda name: worked[name], default="")


def describe(stages: dict[str, Record]) -> str:
    """The stages' images/s as one line for a person."""
    shown = ", ".join(f"{name} {one['images_per_s']:,.0f}" for name, one in stages.items())
    return f"images/s by stage: {shown}; {binding(stages) or 'nothing'} binds"


def write_speed(home: Home, line: str, day: str, record: Record) -> None:
    """Keep what a process measured, instead of what was measured of the same shards before."""
    folder = home.speed(line, day)
    first, last = min(record["shards"]), max(record["shards"])
    for path in folder.glob("*.json"):
        begin, end = path.stem.split("-")
        if first <= int(begin) and int(end) <= last:
            path.unlink(missing_ok=True)
    files.write_json(folder / f"{first:04d}-{last:04d}.json", record)


def night_speed(home: Home, line: str, day: str) -> Record:
    """The stages of a whole night, added up over its processes.

    A shard that was repeated alone, after a process that did them all, counts twice.
    """
    records = [files.read_json(path) for path in sorted(home.speed(line, day).glob("*.json"))]
    stages: dict[str, Record] = {}
    for name in dict.fromkeys(name for record in records for name in record["stages"]):
        found = [record["stages"][name] for record in records if name in record["stages"]]
        whole = Stage(name, max(one["workers"] for one in found))
        whole.images = sum(one["images"] for one in found)
        whole.busy_s = sum(one["busy_s"] for one in found)
        stages[name] = whole.record()
    return {
        "processes": len(records),
        "images": sum(record["images"] for record in records),
        "seconds": round(sum(record["seconds"] for record in records), 1),
        "providers": sorted({record["provider"] for record in records}),
        "stages": stages,
        "binds": binding(stages),
    }
