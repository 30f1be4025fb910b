"""Long work says how far it is and how long it will take."""

import itertools
import json

from ml import progress


def test_progress_reports_done_total_and_eta_as_json_lines(monkeypatch, capsys):
    monkeypatch.setenv("LOUPE_PROGRESS", "json")
    clock = itertools.chain([0.0], itertools.repeat(10.0))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.Progress("decode", total=4) as stage:
        stage.step()
    first = capsys.readouterr().err.splitlines()[0]
    report = json.loads(first.removeprefix(progress.PREFIX))
    assert report["stage"] == "decode"
    assert (report["done"], report["total"]) == (1, 4)
    assert report["eta_s"] == 30.0


def test_progress_is_silent_where_another_process_reports(monkeypatch, capsys):
    monkeypatch.delenv("LOUPE_PROGRESS", raising=False)
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    with progress.Progress("train", total=1) as stage:
        stage.step()
    assert "train: 1/1" in capsys.readouterr().err
    monkeypatch.setenv("LOUPE_PROGRESS", "off")
    with progress.Progress("train", total=1) as stage:
        stage.step()
    assert capsys.readouterr().err == ""


def test_track_yields_every_item_once():
    assert list(progress.track(range(5), "count", 5)) == [0, 1, 2, 3, 4]


def test_what_was_done_before_an_interruption_does_not_flatter_the_eta(monkeypatch):
    clock = itertools.chain([0.0], itertools.repeat(10.0))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    stage = progress.Progress("train", total=100, done=50)
    assert stage.eta_s is None
    stage.step()
    assert stage.eta_s == 490.0
