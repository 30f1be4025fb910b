"""Parts whose image nobody can judge are held in the night, where they would look passed."""

import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_line import Tiny, make_line, picture, write_runs

from ml import files
from ml.data import catalog, predicted
from ml.data.ingest import ingest
from ml.data.quarantine import Choice, drop, replay
from ml.data.validate import Outcome, validate
from ml.errors import StorageError
from ml.inference.batch import predict_shards
from ml.inference.night import Plan, plan_night, read_plan, shard_rows
from ml.inference.publish import publish
from ml.inference.reconcile import Reconciled, reconcile
from ml.inference.shadow import compare_shadow
from ml.monitoring.night import read_night
from ml.results import ResultStore
from ml.settings import LineConfig

DAY, NEXT_DAY, LAST_DAY = "2026-03-03", "2026-03-04", "2026-03-05"
PATTERN = r"(?P<part>p\w+)_(?P<captured_at>\d{8}T\d{6})"


class Plant:
    """A line that is inspected, and the folder that its images come to."""

    def __init__(self, live: Tiny, store: ResultStore, source: Path) -> None:
        self.home, self.store, self.source = live.home, store, source
        layout = {"kind": "masks", "pattern": PATTERN}
        self.line: LineConfig = make_line(source={"uri": str(source), "layout": layout})
        self._random = np.random.default_rng(5)

    def good(self) -> bytes:
        """A picture like no other."""
        return _png(picture(self._random, 0))

    def put(self, part: str, content: bytes, day: str = DAY, folder: str = "images") -> Path:
        path = self.source / folder / f"{part}_{day.replace('-', '')}T080000.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def ingest(self) -> Outcome:
        found = ingest(self.home, self.line, source=str(self.source), until=None, threads=1)
        return validate(self.home, self.line, found.name)

    def inspect(self, day: str = DAY, shadow: str | None = None) -> Plan:
        plan = plan_night(self.home, self.line, day, shadow=shadow)
        predict_shards(self.home, plan, range(len(plan.sizes)), 3, 1)
        return plan

    def night(self, day: str = DAY) -> Reconciled:
        self.inspect(day)
        return self.finish(day)

    def finish(self, day: str = DAY) -> Reconciled:
        publish(self.home, self.store, "tiny", day)
        return reconcile(self.home, self.store, "tiny", day)

    def reasons(self, day: str = DAY) -> dict[str, str]:
        """Of the parts that are held: why."""
        rows = predicted.read(self.home, "tiny", day=day).to_pylist()
        return {row["part"]: row["reason"] for row in rows if row["p_defect"] is None}

    def alert(self, kind: str, day: str = DAY) -> str | None:
        found = self.store.get("alerts", f"tiny__{day}__{kind}")
        return None if found is None else found["detail"]


@pytest.fixture
def plant(live: Tiny, store: ResultStore, tmp_path: Path) -> Plant:
    """Ten good parts of a day."""
    made = Plant(live, store, tmp_path / "source")
    for number in range(10):
        made.put(f"pgood{number}", made.good())
    return made


def _png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()


def _cut(plant: Plant) -> bytes:
    return plant.good()[:-200]


BLACK = _png(np.zeros((32, 32, 3), np.uint8))


def _spoil(plant: Plant) -> None:
    """Ten parts of a camera that stands still, four files that are cut, and a black one."""
    frozen = plant.good()
    for number in range(10):
        plant.put(f"pfrozen{number}", frozen)
    for number in range(4):
        plant.put(f"pcut{number}", _cut(plant))
    plant.put("pblack", BLACK)


def test_every_part_that_came_has_a_verdict_and_none_of_the_unknown_ones_passes(plant) -> None:
    _spoil(plant)
    assert plant.ingest().listed == 25
    done = plant.night()
    assert (done.images, done.predictions, done.documents, done.late) == (25, 25, 25, {})
    reasons = plant.reasons()
    assert Counter(reasons.values()) == {
        "same bytes as images/pfrozen0_20260303T080000.png": 9,
        "quarantined: truncated": 4,
        "quarantined: brightness": 1,
    }
    (night,) = plant.store.find("nights")
    assert (night["images"], night["reconciled"]) == (25, True)
    documents = {one["part"]: one for one in plant.store.find("parts", {"verdict": "review"})}
    assert {part: documents[part]["reason"] for part in reasons} == reasons
    assert all(documents[part]["scores"] == {} for part in reasons)
    # Ordinary parts keep the ids that they had.
    ids = {one["id"] for one in plant.store.find("parts") if one["part"] not in reasons}
    assert all(len(name.rsplit("__", 1)[1]) == 16 for name in ids)


def test_a_held_image_is_not_read_and_no_model_sees_it(plant: Plant) -> None:
    _spoil(plant)
    plant.ingest()
    rows = catalog.read_images(plant.home, "tiny", day=DAY, status=["quarantined", "duplicate"])
    for sha256 in set(
        rows.filter(rows["status"].to_numpy() == "quarantined")["sha256"].to_pylist()
    ):
        plant.home.object(sha256).unlink()
    plant.night()
    assert Counter(plant.reasons().values())["quarantined: truncated"] == 4
    images = plant.home.night_images("tiny", DAY)
    plan = read_plan(plant.home, plant.line, DAY)
    beside = list(shard_rows(plant.home, plan, range(len(plan.sizes))))
    images.unlink()
    assert list(shard_rows(plant.home, plan, range(len(plan.sizes)))) == beside


def test_a_storage_that_gives_no_image_is_noticed_beside_those_that_are_held(plant: Plant) -> None:
    plant.put("pblack", BLACK)
    plant.ingest()
    for sha256 in catalog.read_images(plant.home, "tiny", day=DAY)["sha256"].to_pylist():
        plant.home.object(sha256).unlink()
        plant.home.object(sha256).symlink_to("/proc/self/mem")  # gives EIO
    with pytest.raises(StorageError, match="shard 0: the storage gave none of 6 images"):
        plant.inspect()


def test_held_images_are_no_measurements(plant: Plant, live: Tiny) -> None:
    _spoil(plant)
    plant.ingest()
    plant.night()
    assert read_night(plant.home, plant.line, DAY).images == 11
    line = live.line.model_copy(update={"seed": 5})
    write_runs(live.home, line)
    challenger = Tiny(live.env, live.home, line).evaluate().name
    plant.inspect(shadow=challenger)
    assert compare_shadow(plant.home, "tiny", DAY).images == 11


def test_what_a_replay_accepts_is_late_until_its_day_runs_again(plant: Plant) -> None:
    plant.put("pblack", BLACK)
    plant.ingest()
    assert plant.night().late == {}
    checks = plant.line.checks.model_copy(update={"brightness": (0.0, 255.0), "min_contrast": 0.0})
    plant.line = plant.line.model_copy(update={"checks": checks})
    replay(plant.home, plant.line, Choice(), source=str(plant.source), threads=1)
    done = plant.finish()
    assert (done.late, done.late_parts) == ({DAY: 1}, {DAY: ["pblack"]})
    assert plant.night().late == {}
    assert plant.reasons() == {}


def test_what_a_person_drops_leaves_the_plan(plant: Plant) -> None:
    plant.put("pblack", BLACK)
    plant.ingest()
    assert plant.night().images == 11
    drop(plant.home, plant.line, Choice(reason="brightness"), by="Ann", because="an empty tray")
    assert plant.night().images == 10
    assert plant.reasons() == {}


def test_a_broken_image_that_comes_after_the_night_is_late(plant: Plant) -> None:
    plant.ingest()
    assert plant.night().late == {}
    plant.put("plate", _cut(plant))
    plant.put("pcopy", (plant.source / "images/pgood1_20260303T080000.png").read_bytes())
    plant.ingest()
    done = plant.finish()
    assert done.late == {DAY: 2}
    assert sorted(done.late_parts[DAY]) == ["pcopy", "plate"]
    assert plant.night().late == {}
    assert set(plant.reasons()) == {"plate", "pcopy"}


def test_the_same_part_again_under_another_name_is_no_unknown_part(plant: Plant) -> None:
    plant.put(
        "pgood1",
        (plant.source / "images/pgood1_20260303T080000.png").read_bytes(),
        folder="images/b",
    )
    assert plant.ingest().duplicate == 1
    assert plant.night().images == 10
    assert plant.reasons() == {}


def test_a_file_that_was_cut_while_it_was_uploaded_is_held_only_until_it_is_whole(plant) -> None:
    whole = plant.good()
    path = plant.put("pslow", whole[:-200])
    plant.ingest()
    plant.night()
    assert plant.reasons() == {"pslow": "quarantined: truncated"}
    path.write_bytes(whole)
    plant.ingest()
    assert plant.finish().late == {DAY: 1}
    assert plant.night().images == 11
    assert plant.reasons() == {}


def test_a_good_file_that_is_overwritten_by_a_broken_one_is_held(plant: Plant) -> None:
    plant.ingest()
    plant.put("pgood1", _cut(plant))
    plant.ingest()
    assert plant.night().images == 11
    assert plant.reasons() == {"pgood1": "quarantined: truncated"}


def test_an_image_without_a_time_is_held_on_the_day_that_it_was_written(plant: Plant) -> None:
    path = plant.put("pclock", plant.good(), day="2026-02-30")
    written = datetime(2026, 3, 3, 9, tzinfo=UTC).timestamp()
    os.utime(path, (written, written))
    plant.ingest()
    plant.night()
    assert plant.reasons() == {"pclock": "quarantined: bad_time"}


def test_a_broken_image_of_a_day_without_a_night_is_missed_but_not_one_to_learn_from(plant) -> None:
    plant.ingest()
    plant.night()
    plant.put("plast", plant.good(), LAST_DAY)
    plant.put("pcut", _cut(plant), NEXT_DAY)
    plant.ingest()
    done = plant.night(LAST_DAY)
    assert (done.late, done.late_parts) == ({NEXT_DAY: 1}, {NEXT_DAY: ["pcut"]})
    assert "1 images have no verdict" in str(plant.alert("missed", NEXT_DAY))
    # Beside images that all have labels it is one of those.
    path = plant.put("plearn", plant.good(), NEXT_DAY)
    plant.ingest()
    rows = catalog.read_images(plant.home, "tiny", day=NEXT_DAY)
    assert rows["object"].to_pylist() == [path.relative_to(plant.source).as_posix()]
    label = dict.fromkeys(catalog.LABELS.names, "") | {"label": "ok", "source": "layout"}
    label["sha256"] = rows["sha256"][0].as_py()
    catalog.upsert_labels(plant.home, "tiny", _labels(label))
    assert plant.finish(LAST_DAY).late == {}


def _labels(label: dict[str, str]):
    import pyarrow as pa

    return pa.Table.from_pylist([label], schema=catalog.LABELS)


def test_a_plan_of_an_earlier_loupe_has_usable_images_alone(plant: Plant) -> None:
    _spoil(plant)
    plant.ingest()
    plan = plant.inspect()
    path = plant.home.night("tiny", DAY)
    old = files.read_json(path) | {"sizes": [7, 4]}
    del old["held"]
    files.write_json(path, old)
    plant.home.night_images("tiny", DAY).unlink()
    rows = list(shard_rows(plant.home, read_plan(plant.home, plant.line, DAY), [0, 1]))
    assert len(rows) == 11
    assert {row["held"] for row in rows} == {None}
    # Planned again, the day has all of them.
    assert plan_night(plant.home, plant.line, DAY) == plan


def test_a_night_that_judged_too_little_gives_an_alert_until_it_is_run_again(plant: Plant) -> None:
    plant.ingest()
    plan = plant.inspect()
    lost = plant.home.object("ab").parent.parent
    lost.rename(plant.home.root / "elsewhere")
    plant.night()
    assert plant.alert("held") == (
        "Held for review without a probability, by reason: the stored image cannot be read: 10."
    )
    (plant.home.root / "elsewhere").rename(lost)
    plant.home.live("tiny").unlink()
    plant.night()
    assert "no champion bundle: 10" in str(plant.alert("held"))
    files.write_json(plant.home.live("tiny"), {"bundle": plan.bundle, "number": 2})
    plant.night()
    assert plant.alert("held") is None


def test_a_camera_that_stands_still_is_named(plant: Plant) -> None:
    copied = (plant.source / "images/pgood1_20260303T080000.png").read_bytes()
    plant.put("pgood10", copied)
    plant.ingest()
    plant.night()
    assert plant.alert("held") is None  # one file of a small night is no fault of the line
    plant.put("pgood11", copied)
    plant.ingest()
    plant.night()
    assert plant.alert("held") == (
        "Held for review without a probability, by reason: same bytes as another part's image: 2."
    )
    _spoil(plant)
    plant.ingest()
    plant.night()
    said = str(plant.alert("held"))
    assert "same bytes as another part's image: 11, quarantined: truncated: 4" in said
    assert "Look whether a camera stands still" in said


def test_a_single_image_of_many_that_is_held_gives_no_alert(plant: Plant) -> None:
    for number in range(10, 99):
        plant.put(f"pgood{number}", plant.good())
    plant.put("pblack", BLACK)
    plant.ingest()
    plant.night()
    assert len(plant.reasons()) == 1
    assert plant.alert("held") is None


def test_a_copy_is_held_still_when_the_part_whose_picture_it_is_was_taken_again(plant) -> None:
    frozen = plant.good()
    for number in range(4):
        plant.put(f"pfrozen{number}", frozen)
    plant.ingest()
    plant.night()
    first = catalog.read_planned(plant.home, "tiny", DAY).to_pylist()
    seen = next(r["part"] for r in first if r["part"].startswith("pfrozen") and not r["held"])
    plant.put(seen, plant.good())
    plant.ingest()
    plant.night()
    rows = predicted.read(plant.home, "tiny", day=DAY).to_pylist()
    frozen_rows = {r["part"]: r for r in rows if r["part"].startswith("pfrozen")}
    assert len(frozen_rows) == 4
    held = {name for name, row in frozen_rows.items() if row["p_defect"] is None}
    assert held == frozen_rows.keys() - {seen}


def test_a_cut_file_that_comes_again_has_one_row(plant: Plant) -> None:
    path = plant.put("pcut", _cut(plant))
    plant.ingest()
    os.utime(path, (path.stat().st_mtime + 5,) * 2)
    plant.ingest()
    plant.night()
    assert list(plant.reasons()) == ["pcut"]
    rows = predicted.read(plant.home, "tiny", day=DAY).to_pylist()
    assert [row["part"] for row in rows].count("pcut") == 1


def test_names_that_begin_anew_in_each_folder_tell_no_parts_apart(plant: Plant) -> None:
    plant.line = make_line(source={"uri": str(plant.source), "layout": {"kind": "masks"}})
    frozen = plant.good()
    for folder in ("a", "b"):
        path = plant.source / "images" / folder / "0000.png"
        path.parent.mkdir()
        path.write_bytes(frozen)
    plant.ingest()
    rows = catalog.read_images(plant.home, "tiny", status=["duplicate"]).to_pylist()
    assert [row["reason"] for row in rows] == ["same bytes as images/a/0000.png"]


def test_a_day_without_images_on_a_line_that_had_some_gives_a_warning(plant: Plant) -> None:
    plant.ingest()
    plant.night()
    assert plant.alert("empty") is None
    plant.night(NEXT_DAY)
    assert "Earlier nights of the line had some" in str(plant.alert("empty", NEXT_DAY))
    plant.put("pnext", plant.good(), NEXT_DAY)
    plant.ingest()
    plant.night(NEXT_DAY)
    assert plant.alert("empty", NEXT_DAY) is None
