"""Slices of the test split: the right images in each, and no firm figure from few groups."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_line

from ml.data.dataset import Sample
from ml.evaluation.calibrate import chow
from ml.evaluation.intervals import bootstrap_weights
from ml.evaluation.pixels import MapEvidence
from ml.evaluation.scores import TestScores
from ml.evaluation.slices import MOST_VALUES, Slice, Slicer
from ml.inference.engine import Scored
from ml.settings import Home
from ml.settings.line import CostsConfig

GOOD, DEFECTS = 40, 24


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def _samples(home: Home) -> list[Sample]:
    """Good parts, then cracks and pits of growing size; the last pit is a group of its own."""
    when = tiny_line.datetime(2026, 1, 5)
    samples = []
    for number in range(GOOD + DEFECTS):
        defect, mask = number >= GOOD, ""
        if defect:
            drawn = np.zeros((32, 32), np.uint8)
            drawn[: 1 + number - GOOD, :4] = 255
            mask = tiny_line.store(home, cv2.imencode(".png", drawn)[1].tobytes())
        kind = ("crack" if number % 2 else "pit") if defect else ""
        label, lot = "defect" if defect else "ok", f"l{number % 2}"
        name = str(number)
        samples.append(
            Sample(name, "test", name, label, kind, mask, name, lot, "top", when, "2026-01-05")
        )
    return samples


def _slices(home: Home, samples: list[Sample], p_defect: np.ndarray) -> dict[str, list[Slice]]:
    nothing = np.zeros(0, np.float32)
    test = TestScores(tuple(samples), {}, np.zeros((len(samples), 1), np.float32))
    maps = MapEvidence(home, {"segmenter": (32, 32)})
    half = np.zeros((32, 32), np.float32)
    half[:, :2] = 1
    for sample in samples:
        maps.see(sample, Scored({}, nothing, defect_map=half))
    weights = bootstrap_weights(test.groups, seed=1)
    slicer = Slicer(test, maps, p_defect, chow(CostsConfig()), weights)
    found: dict[str, list[Slice]] = {}
    for row in slicer.slices(np.arange(len(samples), dtype=float)):
        found.setdefault(row.field, []).append(row)
    return found


def test_a_weak_kind_of_defect_shows_in_its_own_row(home: Home) -> None:
    samples = _samples(home)
    # Cracks are passed, pits are failed, good parts lie between.
    kinds = {"crack": 0.001, "pit": 0.99, "": 0.005}
    p_defect = np.array([kinds[sample.defect_type] for sample in samples])
    crack, pit = _slices(home, samples, p_defect)["defect type"]
    assert (crack.name, crack.auroc.value, crack.escape.rate.value) == ("crack", 0.0, 1.0)
    assert (pit.name, pit.auroc.value, pit.escape.rate.value) == ("pit", 1.0, 0.0)
    assert (pit.escape.count, pit.escape.images, pit.escape.rate.n) == (0, 12, 12)
    assert pit.escape.rate.high == pytest.approx(0.2646)
    assert pit.overkill.images == 0
    assert crack.dice is not None
    assert crack.dice.n == 12


def test_size_and_exposure_are_cut_into_thirds(home: Home) -> None:
    samples = _samples(home)
    found = _slices(home, samples, np.linspace(0, 1, len(samples)))
    sizes = found["defect size"]
    assert [row.escape.images for row in sizes] == [8, 8, 8]
    assert [row.name[:3] for row in sizes] == ["1st", "2nd", "3rd"]
    # The map covers two of four columns whatever the mask's height: Dice grows with the defect.
    dice = [row.dice.value for row in sizes if row.dice is not None and row.dice.value is not None]
    assert dice == sorted(dice)
    assert len(dice) == 3
    light = found["exposure"]
    assert [row.review.images for row in light] == [22, 21, 21]
    assert light[0].auroc.value is None


def test_few_groups_have_no_interval_and_one_value_no_slice(home: Home) -> None:
    samples = _samples(home)
    few = [
        replace(sample, lot="rare") if number in (0, 1, GOOD) else sample
        for number, sample in enumerate(samples)
    ]
    found = _slices(home, few, np.linspace(0, 1, len(few)))
    assert "camera" not in found
    rare = next(row for row in found["lot"] if row.name == "rare")
    assert (rare.auroc.low, rare.auroc.n) == (None, 1)
    assert (rare.escape.rate.low, rare.escape.images) == (None, 1)
    common = next(row for row in found["lot"] if row.name == "l0")
    assert common.auroc.low is not None


def test_of_many_lots_those_with_the_most_groups_are_kept(home: Home) -> None:
    samples = [
        replace(sample, lot=f"l{max(number - 10, 0):02d}")
        for number, sample in enumerate(_samples(home))
    ]
    rows = _slices(home, samples, np.linspace(0, 1, len(samples)))["lot"]
    assert len(rows) == MOST_VALUES
    assert rows[0].name == "l00"
    assert rows[0].review.images == 11
