"""A split keeps groups whole, does not depend on order, and a leak stops it."""

import random
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.data import catalog
from ml.data.leak import find_leaks, guard
from ml.data.snapshot import snapshot
from ml.data.split import split_groups
from ml.errors import DataError, LeakError
from ml.settings.line import SplitConfig

CONFIG = SplitConfig()
kinds = st.lists(
    st.tuples(st.integers(0, 30).map(str), st.sampled_from(["ok", "pit", "chip"])), min_size=1
)


@given(kinds, st.randoms(use_true_random=False))
def test_the_split_is_by_group_and_independent_of_order(pairs, shuffler: random.Random):
    splits = split_groups(pairs, CONFIG)
    assert set(splits) == {group for group, _ in pairs}
    shuffled = list(pairs)
    shuffler.shuffle(shuffled)
    assert split_groups(shuffled, CONFIG) == splits


def test_every_kind_with_three_groups_is_in_all_splits():
    pairs = [(f"{kind}{n}", kind) for kind in ("ok", "pit") for n in range(3)]
    splits = split_groups(pairs, CONFIG)
    for kind in ("ok", "pit"):
        assert {splits[f"{kind}{n}"] for n in range(3)} == {"train", "validation", "test"}


@pytest.mark.parametrize("shares", [(0.35, 0.55), (0.49, 0.41), (0.2, 0.25)])
@settings(deadline=None)
@given(pairs=kinds)
def test_a_kind_of_several_groups_is_learned_whatever_the_shares(pairs, shares):
    config = SplitConfig(validation=shares[0], test=shares[1])
    splits = split_groups(pairs, config)
    for kind in {kind for _, kind in pairs}:
        groups = {group for group, one in pairs if one == kind}
        assert len(groups) == 1 or "train" in {splits[group] for group in groups}


def test_a_kind_of_three_groups_is_in_all_splits_also_where_most_is_held_out():
    config = SplitConfig(validation=0.35, test=0.55)
    for count in (3, 10):
        pairs = [*((f"pit{n}", "pit") for n in range(count)), *((f"{n}", "ok") for n in range(40))]
        splits = split_groups(pairs, config)
        assert {splits[f"pit{n}"] for n in range(count)} == {"train", "validation", "test"}


def test_rare_defect_types_share_the_splits_and_each_is_learned():
    defects = [(f"pit{n}_{i}", f"pit{n}") for n in range(10) for i in range(2)]
    pairs = [*defects, ("chip0", "chip"), *((str(n), "ok") for n in range(40))]
    splits = split_groups(pairs, CONFIG)
    held_out = Counter(splits[group] for group, kind in pairs if kind != "ok")
    assert (held_out["validation"], held_out["test"]) == (4, 5)
    learned = {kind for group, kind in pairs if splits[group] == "train"}
    assert learned == {kind for _, kind in pairs}


def test_shares_are_near_those_asked_for():
    splits = list(split_groups([(str(n), "ok") for n in range(200)], CONFIG).values())
    assert splits.count("test") == 50
    assert splits.count("validation") == 40


def _rows(plant, groups):
    from ml.data import catalog

    plant.run()
    rows = catalog.read_images(plant.home, "plant").to_pylist()
    return [
        row | {"group": group, "split": split}
        for row, (group, split) in zip(rows, groups, strict=True)
    ]


def test_a_group_in_two_splits_is_a_leak_that_names_both(plant):
    apart = [("a", "train"), ("a", "test")] + [(str(n), "train") for n in range(4)]
    leaks = find_leaks(plant.home, _rows(plant, apart))
    assert [leak.kind for leak in leaks] == ["group"]
    with pytest.raises(LeakError, match=r"ok/part0\.png and ok/part1\.png"):
        guard(leaks)


def test_a_re_encoded_copy_across_the_split_is_a_leak(plant):
    import cv2

    image = cv2.imread(str(plant.source / "ok/part0.png"))
    smooth = cv2.GaussianBlur(image, (0, 0), 1.5)
    plant.write("ok/part0.png", cv2.imencode(".png", smooth)[1].tobytes())
    brighter = np.clip(smooth * 1.1 + 4, 0, 255).astype(np.uint8)
    plant.write("ok/part1.png", cv2.imencode(".png", brighter)[1].tobytes())
    apart = [("a", "train"), ("b", "test")] + [(str(n), "train") for n in range(4)]
    leaks = find_leaks(plant.home, _rows(plant, apart))
    assert [leak.kind for leak in leaks] == ["copy"]


def test_different_parts_are_no_leak(plant):
    apart = [(str(n), "train" if n % 2 else "test") for n in range(6)]
    assert find_leaks(plant.home, _rows(plant, apart)) == []


def test_too_few_groups_are_refused_with_the_number_needed(plant):
    plant.run()
    with pytest.raises(DataError, match="6 labelled images in 6 groups; at least 8"):
        snapshot(plant.home, plant.line, None)


def test_a_line_of_defects_only_is_refused(plant):
    for seed in range(4):
        (plant.source / f"ok/part{seed}.png").unlink()
    for seed in range(10, 20):
        plant.picture(f"pit/part{seed}.png", seed)
    plant.run()
    with pytest.raises(DataError, match="every labelled image is a defect"):
        snapshot(plant.home, plant.line, None)


def test_equal_content_is_the_same_dataset_version(plant):
    for seed in range(10, 16):
        plant.picture(f"ok/part{seed}.png", seed)
    plant.run()
    assert snapshot(plant.home, plant.line, None) == snapshot(plant.home, plant.line, None)


def test_a_later_snapshot_does_not_rewrite_the_description_of_an_equal_one(plant):
    for seed in range(10, 16):
        plant.picture(f"ok/part{seed}.png", seed)
    plant.run()
    made = snapshot(plant.home, plant.line, None)
    description = plant.home.dataset("plant", made.dataset).with_suffix(".json")
    before = description.read_bytes()
    plant.write("ok/zcopy.png", (plant.source / "ok/part0.png").read_bytes())
    plant.run()
    assert snapshot(plant.home, plant.line, "2999-01-01").dataset == made.dataset
    assert description.read_bytes() == before


def test_labels_of_an_older_loupe_that_say_good_and_bad_at_once_are_left_out(plant, caplog):
    for seed in range(10, 16):
        plant.picture(f"ok/part{seed}.png", seed)
    plant.run()
    images = catalog.read_images(plant.home, "plant").to_pylist()
    sha256 = {row["object"]: row["sha256"] for row in images}
    labels = catalog.read_labels(plant.home, "plant")
    wrong = [
        labels[sha256["ok/part10.png"]] | {"label": "defect", "defect_type": "ok"},
        labels[sha256["ok/part11.png"]] | {"mask": "0" * 64},
    ]
    table = pa.Table.from_pylist(wrong, schema=catalog.LABELS)
    catalog.upsert_labels(plant.home, "plant", table)
    assert snapshot(plant.home, plant.line, None).images == len(images) - 2
    assert "2 images are labelled as good and as a defect at once, and are left out: " in (
        caplog.text
    )
    assert "ok/part10.png, ok/part11.png" in caplog.text
