"""The steps from evaluation to reconciliation as commands: one JSON result each, as documented."""

import getpass
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import tiny_line
from click.testing import CliRunner
from tiny_line import Tiny

from ml.audit import ledger
from ml.audit.promotions import Rejection, Switch
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

    def ask(self, *words: str) -> dict[str, Any]:
        result = CliRunner().invoke(main, list(words))
        assert result.exit_code == 0, result.stderr
        found: dict[str, Any] = json.loads(result.stdout)
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
    assert set(loupe("publish", *day)) == {"day", "documents", "flagged", "written"}
    reconciled = loupe("reconcile", *day)
    assert reconciled["images"] == reconciled["predictions"] == reconciled["documents"] == 60
    assert reconciled["equal"] is True
    assert reconciled["late"] == reconciled["late_parts"] == {}
    speed = loupe("speed", *day)
    assert (speed["processes"], speed["images"]) == (2, 60)
    assert list(speed["stages"]) == sorted(done["stages"])
    assert speed["binds"] in done["stages"]
    assert loupe.ask("catalog", "pack", "--line", "tiny") == {"line": "tiny", "days": 1}


def test_the_history_of_a_line_is_asked_and_walked_back(loupe: Loupe) -> None:
    made = loupe("evaluate", "--dataset", tiny_line.DATASET)
    loupe("promote", "--bundle", made["bundle"], "--by", "me")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    found = loupe.ask("bundle", "at", "--line", "tiny", "--time", now)
    assert (found["bundle"], found["by"], found["until"]) == (made["bundle"], "me", None)
    assert found["since"] <= now
    early = loupe.ask("bundle", "at", "--line", "tiny", "--time", "2026-01-01T02:00+02:00")
    assert (early["bundle"], early["until"]) == (None, found["since"])
    assert early["time"] == "2026-01-01T02:00:00+02:00"
    assert "none before it" in loupe.refused("rollback")


def test_a_bundle_that_was_refused_inspects_when_it_is_named_and_it_is_said_who_refused_it(
    loupe: Loupe, tiny: Tiny, caplog: pytest.LogCaptureFixture
) -> None:
    name = tiny.evaluate().name
    night = ("shards", "--day", tiny_line.DAY, "--bundle", name)
    assert loupe(*night)["warnings"] == []
    at, path = datetime(2026, 1, 4, 5, tzinfo=UTC), tiny.home.promotions("tiny")
    out = {"step": "rollback", "bundle": "f" * 32, "previous": name, "by": "Ada", "reason": "blur"}
    for number, entry in enumerate([out | {"step": "promote"}, out], start=1):
        ledger.append(path, Switch("tiny", number, at=at, **entry).as_entry())
    ledger.append(path, Rejection("tiny", 2, name, "Bo", "", at).as_entry())
    plan = loupe(*night)
    assert (plan["bundle"], plan["images"]) == (name, 60)
    when = "2026-01-04T05:00:00+00:00; it inspects, as it was asked for by name"
    assert plan["warnings"] == [
        f"bundle {name} was rolled back by Ada at {when.replace(';', ': blur;')}",
        f"bundle {name} was rejected by Bo at {when}",
    ]
    assert [record.message for record in caplog.records[-2:]] == plan["warnings"]
    path.write_text(path.read_text().replace("Ada", "Eve"))
    assert "is not known" in loupe(*night)["warnings"][0]


@pytest.mark.parametrize("time", ["yesterday", "2026-05-03", "9999-01-01T00:00"])
def test_a_time_that_is_none_is_refused(loupe: Loupe, time: str) -> None:
    result = CliRunner().invoke(main, ["bundle", "at", "--line", "tiny", "--time", time])
    assert result.exit_code == 2
    assert f"--time '{time}'" in result.stderr


def test_a_promotion_by_hand_is_not_said_to_be_the_gates(loupe: Loupe) -> None:
    made = loupe("evaluate", "--dataset", tiny_line.DATASET)
    loupe("promote", "--bundle", made["bundle"])
    now = datetime.now(UTC).isoformat(timespec="seconds")
    found = loupe.ask("bundle", "at", "--line", "tiny", "--time", now)
    assert found["by"] == getpass.getuser()


def test_a_time_without_a_zone_is_taken_as_utc_and_that_is_said(loupe: Loupe) -> None:
    made = loupe("evaluate", "--dataset", tiny_line.DATASET)
    loupe("promote", "--bundle", made["bundle"])
    line = ["--line", "tiny", "--time", "2026-01-01T02:00"]
    result = CliRunner().invoke(main, ["bundle", "at", *line])
    assert json.loads(result.stdout)["time"] == "2026-01-01T02:00:00+00:00"
    assert "no time zone: taken as UTC" in result.stderr
    assert "before the first promotion of tiny" in result.stderr


def test_bundles_are_verified_signed_and_their_keys_replaced(loupe: Loupe, tiny: Tiny) -> None:
    bundle = tiny.evaluate()
    described = {"bundle": bundle.name, "line": "tiny", "key": bundle.signer}
    assert loupe.ask("bundle", "verify") == {"bundles": [described]}
    turned = loupe.ask("key", "rotate")
    assert turned["old"] == bundle.signer
    keys = loupe.ask("key", "list")
    assert keys["signing"] == turned["new"]
    assert set(keys["trusted"]) == {turned["old"], turned["new"]}
    (tiny.home.trusted_keys / f"{bundle.signer}.pub").unlink()
    result = CliRunner().invoke(main, ["bundle", "verify", "--bundle", bundle.name])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "not trusted" in result.stderr
    signed = loupe.ask("bundle", "sign", "--bundle", bundle.name)
    assert signed == described | {"key": turned["new"]}


def test_what_cannot_be_done_is_one_clear_message(loupe: Loupe) -> None:
    assert "not a bundle" in loupe.refused("promote", "--bundle", "nothing")
    assert "does not add up" in loupe.refused("reconcile", "--day", tiny_line.DAY)
    assert "not trained yet" in loupe.refused("evaluate", "--dataset", "nothing")


@pytest.mark.parametrize("day", ["today", "20260105", "2026-W02-1", "2026-02-30"])
def test_a_day_that_is_not_written_as_in_the_catalog_is_refused(loupe: Loupe, day: str) -> None:
    steps = [(name, "--day") for name in ("shards", "publish", "reconcile")]
    for step, option in [*steps, ("ingest", "--until"), ("snapshot", "--until")]:
        assert f"day '{day}': expected YYYY-MM-DD" in loupe.refused(step, option, day)
