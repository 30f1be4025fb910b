"""The steps from evaluation to reconciliation as commands: one JSON result each, as documented."""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_line
from click.testing import CliRunner
from tiny_line import Tiny

from ml.cli.main import main

LINE = """
name = "tiny"
title = "Tiny"
source = { uri = "nowhere", layout = { kind = "masks" } }
backbone = { weights = "none" }
classifier = { size = [32, 32] }
segmenter = { size = [32, 32] }
anomaly = { size = [32, 32] }
night = { shard_images = 40, batch = 3 }
"""


class Loupe:
    """Runs `loupe` steps of the tiny line."""

    def __call__(self, step: str, *options: str) -> dict[str, Any]:
        result = CliRunner().invoke(main, [step, "--line", "tiny", *options])
        assert result.exit_code == 0, result.stderr
        (line,) = result.stdout.splitlines()
        found: dict[str, Any] = json.loads(line)
        return found

    def refused(self, step: str, *options: str) -> str:
        result = CliRunner().invoke(main, [step, "--line", "tiny", *options])
        assert result.exit_code == 2
        assert result.stdout == ""
        return result.stderr


@pytest.fixture
def loupe(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loupe:
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines" / "tiny.toml").write_text(LINE)
    monkeypatch.setenv("LOUPE_HOME", str(tiny.home.root))
    monkeypatch.setenv("LOUPE_LINES", str(tmp_path / "lines"))
    monkeypatch.setenv("LOUPE_THREADS", "1")
    return Loupe()


def test_the_steps_give_the_documented_results(loupe: Loupe) -> None:
    day = ("--day", tiny_line.DAY)
    made = loupe("evaluate", "--dataset", tiny_line.DATASET)
    assert set(made) == {"bundle", "metrics", "report", "warnings"}
    assert set(made["metrics"]["fused.auroc"]) == {"value", "low", "high", "n"}
    bundle = ("--bundle", made["bundle"])
    judged = loupe("gate", *bundle)
    assert set(judged) == {"bundle", "promote", "reasons", "champion"}
    assert judged["promote"] is True
    assert set(loupe("promote", *bundle, "--by", "me")) == {"bundle", "previous", "version"}
    plan = loupe("shards", *day)
    assert plan["bundle"] == made["bundle"]
    assert plan["shards"] == [
        {"day": tiny_line.DAY, "shard": 0, "images": 40},
        {"day": tiny_line.DAY, "shard": 1, "images": 20},
    ]
    for shard in plan["shards"]:
        done = loupe("predict", *day, "--shard", str(shard["shard"]))
        assert done["pass"] + done["fail"] + done["review"] == done["images"] == shard["images"]
    assert set(loupe("publish", *day)) == {"day", "documents", "flagged"}
    reconciled = loupe("reconcile", *day)
    assert reconciled["images"] == reconciled["predictions"] == reconciled["documents"] == 60
    assert reconciled["equal"] is True
    assert reconciled["late"] == {}


def test_what_cannot_be_done_is_one_clear_message(loupe: Loupe) -> None:
    assert "not a bundle" in loupe.refused("promote", "--bundle", "nothing")
    assert "does not add up" in loupe.refused("reconcile", "--day", tiny_line.DAY)
    assert "not trained yet" in loupe.refused("evaluate", "--dataset", "nothing")


@pytest.mark.parametrize("day", ["today", "20260105", "2026-W02-1", "2026-02-30"])
def test_a_day_that_is_not_written_as_in_the_catalog_is_refused(loupe: Loupe, day: str) -> None:
    steps = [(name, "--day") for name in ("shards", "publish", "reconcile")]
    for step, option in [*steps, ("ingest", "--until"), ("snapshot", "--until")]:
        assert f"day '{day}': expected YYYY-MM-DD" in loupe.refused(step, option, day)
