"""What was not accepted can be seen, tried again and left out, and nothing is doubled by it."""

import hashlib
import json
import os
import re
import threading

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from ml.audit import ledger
from ml.cli.main import main
from ml.data import catalog
from ml.data.quarantine import Choice, drop, quarantined, record_drops, replay
from ml.data.recorded import check_drops
from ml.data.source import FolderSource
from ml.data.validate import validate
from ml.errors import DataError, LedgerError
from tests.data.conftest import Plant

EVERY = Choice()


def _dark(plant: Plant, key: str, seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 3, (48, 48, 3)).astype(np.uint8)
    plant.write(key, cv2.imencode(".png", noise)[1].tobytes())


def _allow_dark(plant: Plant) -> None:
    checks = plant.line.checks.model_copy(update={"brightness": (0.0, 255.0), "min_contrast": 0.0})
    plant.line = plant.line.model_copy(update={"checks": checks})


def _replay(plant: Plant, choice: Choice = EVERY):
    return replay(plant.home, plant.line, choice, source=str(plant.source), threads=1)


def _rows(plant: Plant) -> list:
    """The rows of the catalog but for the batch, which is that of the last replay."""
    return catalog.read_images(plant.home, "plant", status=None).drop(["batch"]).to_pylist()


def test_a_replay_accepts_what_passes_by_now_once_and_a_retry_takes_nothing_back(plant):
    _dark(plant, "ok/dark.png", 1)
    plant.write("ok/torn.png", b"no image")
    first = plant.ingest().name
    assert validate(plant.home, plant.line, first).reasons == {"brightness": 1, "not_an_image": 1}
    assert _replay(plant).outcome.quarantined == 2
    _allow_dark(plant)
    done = _replay(plant)
    assert (done.outcome.accepted, done.outcome.quarantined, done.gone) == (1, 1, 0)
    after = _rows(plant)
    assert _replay(plant, Choice(reason="brightness")).outcome.listed == 0
    # Airflow may run the batch that quarantined the image once more.
    assert validate(plant.home, plant.line, first).accepted == 7
    assert _replay(plant).outcome.quarantined == 1
    assert _rows(plant) == after


def test_a_replay_looks_again_when_the_other_image_of_a_label_conflict_was_mended(plant):
    plant.run()
    copy = plant.write("scratch/zcopy.png", (plant.source / "ok/part0.png").read_bytes())
    assert plant.run().reasons == {"label_conflict": 1}
    assert _replay(plant).outcome.reasons == {"label_conflict": 1}
    plant.picture("ok/part0.png", 77)
    plant.run()
    assert _replay(plant).outcome.accepted == 1
    label = catalog.read_labels(plant.home, "plant")[hashlib.sha256(copy.read_bytes()).hexdigest()]
    assert (label["label"], label["defect_type"]) == ("defect", "scratch")


def test_a_label_conflict_is_over_when_the_other_copy_was_moved(plant, monkeypatch):
    content = (plant.source / "ok/part0.png").read_bytes()
    first = plant.ingest().name
    validate(plant.home, plant.line, first)
    (plant.source / "ok/part0.png").rename(plant.source / "scratch/part0.png")
    assert plant.run().reasons == {"label_conflict": 1}
    with monkeypatch.context() as patch:
        # In a folder that cannot be listed there may be anything.
        hidden = property(lambda _: ["ok/old"], lambda *_: None)
        patch.setattr(FolderSource, "left_out", hidden, raising=False)
        assert _replay(plant).outcome.reasons == {"label_conflict": 1}
    replayed = _replay(plant).outcome
    assert (replayed.duplicate, replayed.reasons) == (1, {})
    after = _rows(plant)
    for batch in (replayed.batch, first):  # Airflow may run either once more.
        validate(plant.home, plant.line, batch)
    label = catalog.read_labels(plant.home, "plant")[hashlib.sha256(content).hexdigest()]
    assert (label["label"], label["defect_type"]) == ("defect", "scratch")
    assert _rows(plant) == after
    assert quarantined(plant.home, "plant", EVERY) == []


def test_a_replay_says_which_images_changed_and_what_takes_them(plant, caplog):
    for name in ("ok/mended.png", "ok/removed.png", "ok/still.png"):
        _dark(plant, name, 1)
    plant.run()
    plant.picture("ok/mended.png", 77)
    (plant.source / "ok/removed.png").unlink()
    caplog.clear()
    assert _replay(plant).gone == 2
    assert [text for text in caplog.messages if "changed since" in text] == [
        "ok/mended.png changed since it was quarantined: `loupe ingest --line plant`"
    ]


def test_an_old_version_does_not_come_back_over_a_newer_one(plant):
    _dark(plant, "ok/part0.png", 1)
    plant.run()
    plant.picture("ok/part0.png", 77)
    limits = plant.line
    _allow_dark(plant)
    done = _replay(plant)
    assert (done.outcome.listed, done.gone) == (0, 1)
    plant.line = limits
    plant.run()
    # The part has a good image by now: the broken one waits for nobody.
    assert quarantined(plant.home, "plant", EVERY) == []


def test_a_better_limit_brings_a_new_version_in_place_of_the_old_one(plant):
    plant.run()
    _dark(plant, "ok/part0.png", 1)
    assert plant.run().quarantined == 1
    _allow_dark(plant)
    assert _replay(plant).outcome.accepted == 1
    status = [row["status"] for row in _rows(plant) if row["object"] == "ok/part0.png"]
    assert sorted(status) == ["accepted", "replaced"]


def _fails_when_it_is_back(plant: Plant) -> None:
    """A dark plate that was accepted and replaced comes back under checks that it fails."""
    strict = plant.line
    _allow_dark(plant)
    _dark(plant, "ok/part0.png", 1)
    os.utime(plant.source / "ok/part0.png", (1, 1))
    plant.run()
    dark = (plant.source / "ok/part0.png").read_bytes()
    plant.picture("ok/part0.png", 77)
    plant.run()
    plant.write("ok/part0.png", dark)
    os.utime(plant.source / "ok/part0.png", (1, 1))
    plant.line = strict
    assert plant.run().reasons == {"brightness": 1}


def test_a_version_that_is_back_but_not_accepted_is_in_quarantine(plant):
    _fails_when_it_is_back(plant)
    (held,) = quarantined(plant.home, "plant", EVERY)
    assert (held["status"], held["reason"]) == ("replaced", "brightness")
    assert plant.ingest().name == ""
    assert _replay(plant).outcome.reasons == {"brightness": 1}
    _allow_dark(plant)
    done = _replay(plant)
    assert (done.outcome.accepted, done.gone) == (1, 0)
    rows = {row["status"]: row for row in _rows(plant) if row["object"] == "ok/part0.png"}
    assert set(rows) == {"accepted", "replaced"}
    assert {name: rows["accepted"][name] for name in ("sha256", "day")} == {
        name: held[name] for name in ("sha256", "day")
    }
    assert quarantined(plant.home, "plant", EVERY) == []


def test_a_version_that_is_back_and_dropped_stays_for_the_night_that_has_it(plant):
    _fails_when_it_is_back(plant)
    (row,) = drop(plant.home, plant.line, Choice(reason="brightness"), by="me", because="lamp off")
    kept = catalog.read_images(plant.home, "plant", day=row["day"])
    assert row["sha256"] in kept["sha256"].to_pylist()
    assert quarantined(plant.home, "plant", EVERY) == []
    _allow_dark(plant)
    assert (plant.ingest().name, _replay(plant).outcome.listed) == ("", 0)


def test_a_drop_keeps_the_row_and_who_and_why_and_is_done_once(plant, monkeypatch):
    plant.write("ok/torn.png", b"no image")
    batch = plant.ingest().name
    validate(plant.home, plant.line, batch)
    with pytest.raises(DataError, match="say which images"):
        drop(plant.home, plant.line, EVERY, by="me", because="test")
    torn = Choice(object="ok/torn.png")
    with pytest.raises(DataError, match="--because"):
        drop(plant.home, plant.line, torn, by="me", because=" ")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(catalog, "upsert_images", killed)
        with pytest.raises(KeyboardInterrupt):
            drop(plant.home, plant.line, torn, by="me", because="camera was off")
    for expected in (1, 0):
        assert (
            len(drop(plant.home, plant.line, torn, by="me", because="camera was off")) == expected
        )
    (entry,) = ledger.entries(plant.home.ledger("plant", "quarantine"))
    assert (entry["by"], entry["because"]) == ("me", "camera was off")
    assert entry["images"][0]["object"] == "ok/torn.png"
    assert validate(plant.home, plant.line, batch).quarantined == 1
    assert plant.ingest().name == ""
    assert [r["status"] for r in _rows(plant) if r["object"] == "ok/torn.png"] == ["dropped"]
    page = (plant.home.reports("plant") / "validate" / "index.html").read_text()
    assert f'<a href="{batch}.html">' in page
    assert re.search(r"<td>not_an_image<td>.*\n<td class=\"number\">1<", page)
    assert re.findall(r'class="number">(\d+)', page)[-5:] == ["6", "0", "0", "0", "1"]


def test_a_drop_that_the_ledger_lost_is_found(plant):
    check_drops(plant.home, "plant")
    plant.write("ok/torn.png", b"no image")
    validate(plant.home, plant.line, plant.ingest().name)
    drop(plant.home, plant.line, Choice(object="ok/torn.png"), by="me", because="camera was off")
    _fails_when_it_is_back(plant)
    path = plant.home.ledger("plant", "quarantine")
    one_drop = path.read_bytes()
    (row,) = drop(plant.home, plant.line, Choice(reason="brightness"), by="me", because="lamp off")
    check_drops(plant.home, "plant")
    path.write_bytes(one_drop)
    with pytest.raises(LedgerError, match=re.escape(f"dropped: {row['object']}. ")):
        check_drops(plant.home, "plant")
    path.write_bytes(one_drop.replace(b"camera", b"lamp"))
    with pytest.raises(LedgerError, match=r"line 1: altered.*keep the file as evidence"):
        record_drops(plant.home, "plant", by="Eve", because="the ledger was put aside")
    path.unlink()
    with pytest.raises(LedgerError, match=r"ok/torn\.png.*--unrecorded"):
        check_drops(plant.home, "plant")
    with pytest.raises(DataError, match="because"):
        record_drops(plant.home, "plant", by="Eve", because=" ")
    for expected in (2, 0):
        found = record_drops(plant.home, "plant", by="Eve", because="the ledger was put aside")
        assert len(found) == expected
    (entry,) = ledger.entries(path)
    assert (entry["by"], entry["step"], len(entry["images"])) == ("Eve", "drop", 2)
    check_drops(plant.home, "plant")


def test_two_ingests_at_once_accept_every_content_once(plant):
    """One has listed half of what the other has, and both have copies of the other's bytes."""
    half = plant.ingest().name
    for seed in range(4):
        copy = (plant.source / f"ok/part{seed}.png").read_bytes()
        plant.write(f"ok/copy{seed}.png", copy)
    whole = plant.ingest().name
    start = threading.Barrier(2)
    outcomes = {}

    def run(batch: str) -> None:
        start.wait()
        outcomes[batch] = validate(plant.home, plant.line, batch)

    threads = [threading.Thread(target=run, args=[batch]) for batch in (half, whole)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes[half].listed == 6
    assert outcomes[whole].listed == 10
    rows = _rows(plant)
    assert len(rows) == len({(row["object"], row["version"]) for row in rows}) == 10
    accepted = [row["sha256"] for row in rows if row["status"] == "accepted"]
    assert len(accepted) == len(set(accepted)) == 6
    assert len(catalog.read_labels(plant.home, "plant")) == 6


def test_the_commands_give_one_json_result(plant, tmp_path, monkeypatch):
    plant.write("ok/torn.png", b"no image")
    plant.run()
    lines = tmp_path / "lines"
    lines.mkdir()
    text = 'name = "plant"\ntitle = "Plant"\n[source]\nuri = "{}"\nlayout.kind = "class_folders"\n'
    (lines / "plant.toml").write_text(text.format(plant.source))
    monkeypatch.setenv("LOUPE_HOME", str(plant.home.root))
    monkeypatch.setenv("LOUPE_LINES", str(lines))

    def loupe(*words: str) -> dict:
        done = CliRunner().invoke(main, ["quarantine", words[0], "--line", "plant", *words[1:]])
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout)

    day = _rows(plant)[0]["day"]
    found = loupe("list", "--day", day)
    assert found["reasons"] == {"not_an_image": 1}
    assert found["items"][0]["object"] == "ok/torn.png"
    assert loupe("list", "--reason", "brightness")["images"] == 0
    plant.picture("ok/torn.png", 50)
    os.utime(plant.source / "ok/torn.png", (1, 1))
    assert loupe("replay")["gone"] == 1  # mended: another version, which an ingest takes
    assert loupe("drop", "--reason", "not_an_image", "--because", "mended")["dropped"] == 1
    assert loupe("drop", "--unrecorded", "--because", "put aside")["dropped"] == 0
    plant.home.ledger("plant", "quarantine").unlink()
    assert loupe("drop", "--unrecorded", "--because", "put aside")["dropped"] == 1
    assert plant.run().accepted == 1
    assert loupe("list")["images"] == 0
