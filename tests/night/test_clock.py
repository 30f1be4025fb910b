"""A clock that is set back between two ingests: nothing is lost, nothing doubled."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_line import Tiny, make_env, make_line, picture

from ml.audit import ledger
from ml.data import catalog, predicted
from ml.data.ingest import ingest
from ml.data.listing import read_mark, write_mark
from ml.data.validate import validate
from ml.inference.batch import predict_shards
from ml.inference.night import plan_night
from ml.inference.publish import publish
from ml.inference.reconcile import reconcile
from ml.results import open_results
from ml.settings import Home

DAY = "2026-03-03"
LAYOUT = {
    "kind": "class_folders",
    "days": "%Y/%m/%d/",
    "pattern": r"(?P<part>p\d+)_(?P<captured_at>\d{8}T\d{6})",
}
RIGHT = [datetime(2026, 3, 4, 2, tzinfo=UTC), datetime(2026, 3, 5, 2, tzinfo=UTC)]
# The first ingest by a clock a year ahead, which was then set right.
SET_BACK = [datetime(2027, 3, 4, 2, tzinfo=UTC), RIGHT[1]]


class Plant:
    """The tiny line in a home of its own, with a source and a clock."""

    def __init__(self, live: Tiny, folder: Path, clock: Iterator[datetime], patch: Any) -> None:
        shutil.copytree(live.home.root, folder / "home")
        self.home, self.source = Home(folder / "home"), folder / "source"
        self.line = make_line(source={"uri": str(self.source), "layout": LAYOUT})
        self.store = open_results(make_env(self.home.root), self.home)
        self._random = np.random.default_rng(3)
        patch.setattr("ml.data.ingest.utc_now", lambda: next(clock))

    def put(self, number: int, strength: int = 0) -> None:
        path = self.source / "2026/03/03" / f"p{number}_20260303T08{number:02d}00.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = picture(self._random, strength)[..., ::-1]
        path.write_bytes(cv2.imencode(".png", image)[1].tobytes())

    def ingest(self) -> str:
        """As the command does: from the watermark that the last one left."""
        mark = read_mark(self.home, "tiny")
        source = str(self.source)
        batch = ingest(self.home, self.line, source=source, until=None, threads=1, mark=mark)
        if batch.mark is not None:
            write_mark(self.home, "tiny", batch.mark)
        return batch.name

    def night(self) -> None:
        plan = plan_night(self.home, self.line, DAY)
        predict_shards(self.home, plan, range(len(plan.sizes)), 3, 1)
        publish(self.home, self.store, "tiny", DAY)
        done = reconcile(self.home, self.store, "tiny", DAY)
        assert done.images == done.predictions

    def images(self) -> list[tuple[str, ...]]:
        names = ("object", "sha256", "status", "day")
        rows = catalog.read_images(self.home, "tiny", status=None, columns=names).to_pylist()
        return sorted(tuple(row.values()) for row in rows if row["object"].startswith("2026/03/03"))

    def content(self) -> str:
        rows = predicted.read(self.home, "tiny", day=DAY).to_pylist()
        documents = {name: self.store.find(name) for name in ("shards", "parts", "nights")}
        return json.dumps([rows, documents], sort_keys=True, default=str)


def _one_by_one(plant: Plant) -> None:
    """Each listing is decided before the next; a night between them, and one after."""
    validate(plant.home, plant.line, plant.ingest())
    plant.night()
    # All that stands was written by the clock before.
    for path in plant.home.root.rglob("*"):
        os.utime(path, (SET_BACK[0].timestamp(), SET_BACK[0].timestamp()))
    plant.put(3, 90)  # taken again: now with a defect
    plant.put(9)  # late
    validate(plant.home, plant.line, plant.ingest())


def _both_listed_first(plant: Plant) -> None:
    first = plant.ingest()
    plant.put(9)
    second = plant.ingest()
    validate(plant.home, plant.line, second)
    validate(plant.home, plant.line, first)


@pytest.mark.parametrize("story", [_one_by_one, _both_listed_first])
def test_a_clock_that_is_set_back_loses_and_doubles_nothing(
    live: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, story: Callable[[Plant], None]
) -> None:
    plants = []
    for name, clock in (("right", RIGHT), ("set_back", SET_BACK)):
        plant = Plant(live, tmp_path / name, iter(clock), monkeypatch)
        for number in range(8):
            plant.put(number, 80 * (number % 2))
        story(plant)
        plant.night()
        plants.append(plant)
    right, back = plants
    accepted = Counter(name for name, _, status, _ in back.images() if status == "accepted")
    objects = [path.relative_to(back.source).as_posix() for path in back.source.rglob("*.png")]
    assert accepted == dict.fromkeys(objects, 1)
    assert len(objects) == 9
    assert back.images() == right.images()
    assert back.content() == right.content()
    assert ledger.verify(back.home.ledger("tiny", DAY)) == ledger.verify(
        right.home.ledger("tiny", DAY)
    )
