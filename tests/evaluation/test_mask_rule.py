"""The mask rule comes from validation: few good images marked, then the best Dice."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_line
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.bundle.card import MaskRule
from ml.data.dataset import Sample
from ml.errors import LeakError
from ml.evaluation.mask_rule import _AREAS, _SEEDS, MaskRuleChoice, dice_by_rule
from ml.inference.engine import Scored
from ml.inference.masks import draw_mask
from ml.settings import Home

NOTHING = np.zeros(0, np.float32)
GOOD = Sample(
    "a", "validation", "g", "ok", "", "", "p", "l", "c", datetime(2026, 1, 5, tzinfo=UTC), "d"
)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), extent=st.floats(0.1, 0.8))
def test_dice_of_every_rule_is_that_of_the_mask_it_draws(seed: int, extent: float) -> None:
    random = np.random.default_rng(seed)
    heat = cv2.GaussianBlur(random.random((24, 24)).astype(np.float32), (0, 0), 1.5)
    heat = (heat - heat.min()) / (heat.max() - heat.min()) * np.float32(0.99)
    truth = np.zeros((24, 24), bool)
    truth[4:12, 6:14] = True
    expected = []
    for area, log_odds in product(_AREAS, _SEEDS):
        drawn = draw_mask(
            heat, MaskRule(extent=extent, seed=1 / (1 + np.exp(-log_odds)), area=area)
        )
        expected.append(2 * (drawn & truth).sum() / (drawn.sum() + truth.sum()))
    np.testing.assert_allclose(dice_by_rule(heat, truth, extent).ravel(), expected)


def test_a_region_counts_whole_when_it_reaches_the_seed_and_not_at_all_else() -> None:
    heat = np.zeros((10, 10), np.float32)
    heat[1:4, 1:4], heat[2, 2] = 0.6, 0.95
    heat[6:9, 6:9] = 0.6
    drawn = draw_mask(heat, MaskRule(extent=0.5, seed=0.9))
    assert (drawn[1:4, 1:4].all(), drawn.sum()) == (True, 9)
    assert draw_mask(heat, MaskRule()).sum() == 18


def test_a_region_larger_than_the_area_counts_without_a_seed() -> None:
    heat = np.zeros((10, 10), np.float32)
    heat[0:2, 0:2] = 0.6
    heat[5:9, 5:9] = 0.6
    drawn = draw_mask(heat, MaskRule(extent=0.5, seed=0.9, area=0.15))
    assert (drawn[5:9, 5:9].all(), drawn.sum()) == (True, 16)


def test_wide_defects_that_are_never_certain_are_kept_by_their_area(tmp_path: Path) -> None:
    home = Home(tmp_path)
    choice = MaskRuleChoice(home, most_false=0.0)
    good = np.full((32, 32), 0.02, np.float32)
    good[3:5, 3:5] = 0.98
    choice.see(GOOD, Scored({}, NOTHING, defect_map=good))
    mask = np.zeros((32, 32), np.uint8)
    mask[8:28, 8:28] = 255
    name = tiny_line.store(home, cv2.imencode(".png", mask)[1].tobytes())
    defect = replace(GOOD, label="defect", defect_type="uneven", mask=name)
    heat = np.where(mask > 0, 0.8, 0.02).astype(np.float32)
    choice.see(defect, Scored({}, NOTHING, defect_map=heat))
    rule, _ = choice.choose()
    assert not draw_mask(good, rule).any()
    assert (draw_mask(heat, rule) == (mask > 0)).all()


def test_false_regions_are_held_down_and_defects_kept(tmp_path: Path) -> None:
    home = Home(tmp_path)
    choice = MaskRuleChoice(home, most_false=0.1)
    for number in range(20):
        heat = np.full((32, 32), 0.02, np.float32)
        heat[5:8, 5:8] = 0.7 if number < 10 else 0.1
        if number == 0:
            heat[6, 6] = 0.999
        choice.see(GOOD, Scored({}, NOTHING, defect_map=heat))
    mask = np.zeros((32, 32), np.uint8)
    mask[10:20, 10:20] = 255
    name = tiny_line.store(home, cv2.imencode(".png", mask)[1].tobytes())
    heat = np.where(mask > 0, 0.4, 0.02).astype(np.float32)
    heat[15, 15] = 0.97
    defect = replace(GOOD, label="defect", defect_type="pit", mask=name)
    choice.see(defect, Scored({}, NOTHING, defect_map=heat))
    rule, warnings = choice.choose()
    assert 0.7 < rule.seed < 0.97
    assert rule.extent < 0.4
    assert warnings == []


def test_outlines_are_right_where_every_good_map_is_dark(tmp_path: Path) -> None:
    home = Home(tmp_path)
    choice = MaskRuleChoice(home, most_false=0.0)
    choice.see(GOOD, Scored({}, NOTHING, defect_map=np.full((32, 32), 0.001, np.float32)))
    mask = np.zeros((32, 32), np.uint8)
    mask[12:20, 12:20] = 255
    name = tiny_line.store(home, cv2.imencode(".png", mask)[1].tobytes())
    heat = np.full((32, 32), 0.001, np.float32)
    heat[8:24, 8:24] = 0.8  # the halo of a defect, surer than even odds
    heat[mask > 0] = 0.99
    defect = replace(GOOD, label="defect", defect_type="pit", mask=name)
    choice.see(defect, Scored({}, NOTHING, defect_map=heat))
    rule, _ = choice.choose()
    assert (draw_mask(heat, rule) == (mask > 0)).all()


def test_false_regions_are_held_down_where_no_defect_has_a_mask(tmp_path: Path) -> None:
    choice = MaskRuleChoice(Home(tmp_path), most_false=0.1)
    for number in range(20):
        heat = np.full((32, 32), 0.02, np.float32)
        heat[5:8, 5:8] = 0.7 if number else 0.999
        choice.see(GOOD, Scored({}, NOTHING, defect_map=heat))
    rule, warnings = choice.choose()
    assert (rule.extent, rule.area, warnings) == (0.5, 1.0, [])
    assert 0.7 < rule.seed < 0.999


def test_a_hopeless_map_is_said_and_without_good_images_the_rule_is_one_half(
    tmp_path: Path,
) -> None:
    home = Home(tmp_path)
    choice = MaskRuleChoice(home, most_false=0.0)
    assert choice.choose() == (MaskRule(), [])
    everywhere = Scored({}, NOTHING, defect_map=np.ones((8, 8), np.float32))
    choice.see(GOOD, everywhere)
    assert "good validation images" in choice.choose()[1][0]
    mask = tiny_line.store(home, cv2.imencode(".png", np.full((8, 8), 255, np.uint8))[1].tobytes())
    choice.see(replace(GOOD, label="defect", defect_type="pit", mask=mask), everywhere)
    assert "good validation images" in choice.choose()[1][0]


def test_test_images_cannot_choose_the_rule(tmp_path: Path) -> None:
    choice = MaskRuleChoice(Home(tmp_path), most_false=0.0)
    with pytest.raises(LeakError):
        choice.see(
            replace(GOOD, split="test"), Scored({}, NOTHING, defect_map=np.ones((8, 8), np.float32))
        )


@pytest.mark.parametrize(("peak", "said"), [(0.6, 1), (0.99, 0)])
def test_a_rule_that_marks_hardly_a_defect_is_warned_of(
    tmp_path: Path, peak: float, said: int
) -> None:
    home = Home(tmp_path)
    choice = MaskRuleChoice(home, most_false=0.01)
    good = np.full((32, 32), 0.02, np.float32)
    good[3:5, 3:5] = 0.95
    choice.see(GOOD, Scored({}, NOTHING, defect_map=good))
    mask = np.zeros((32, 32), np.uint8)
    mask[8:10, 8:10] = 255
    name = tiny_line.store(home, cv2.imencode(".png", mask)[1].tobytes())
    defect = replace(GOOD, label="defect", defect_type="pit", mask=name)
    heat = np.where(mask > 0, peak, 0.02).astype(np.float32)
    choice.see(defect, Scored({}, NOTHING, defect_map=heat))
    warnings = choice.choose()[1]
    assert len(warnings) == said
    assert all("marks 0 of 1 validation defects" in warning for warning in warnings)
