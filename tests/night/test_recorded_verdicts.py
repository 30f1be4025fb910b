"""The ledger of a night is evidence: predictions or lines that changed since are named."""

import json
from typing import Any

import pyarrow as pa
import pytest
import tiny_line
from click.testing import CliRunner, Result
from deltalake import DeltaTable
from tiny_line import Tiny

from ml.audit import ledger
from ml.audit.promotions import Switch
from ml.bundle.live import live_name
from ml.cli.main import main
from ml.data import predicted
from ml.errors import LedgerError
from ml.inference.batch import predict_shards
from ml.inference.night import plan_night
from ml.inference.publish import RECORDED_EARLIER, by_shard, digest_of, publish
from ml.inference.recorded import check_recorded
from ml.results import ResultStore

DAY = tiny_line.DAY


@pytest.fixture
def published(live: Tiny, store: ResultStore) -> Tiny:
    plan = plan_night(live.home, live.line, DAY)
    predict_shards(live.home, plan, range(len(plan.sizes)), live.line.night.batch, 1)
    publish(live.home, store, "tiny", DAY)
    return live


def _pass_all(tiny: Tiny, shard: int) -> None:
    rows: list[dict[str, Any]] = predicted.read(tiny.home, "tiny", day=DAY).to_pylist()
    passed = [row | {"verdict": "pass"} for row in rows if row["shard"] == shard]
    table = pa.Table.from_pylist(passed, schema=predicted.SCHEMA)
    predicted.write_shard(tiny.home, "tiny", DAY, shard, table)


def _swap_parts(tiny: Tiny) -> None:
    """A part that failed and one that passed get each other's names."""
    rows: list[dict[str, Any]] = predicted.read(tiny.home, "tiny", day=DAY).to_pylist()
    rows = [row for row in rows if row["shard"] == 2]
    bad, good = (next(r for r in rows if r["verdict"] == said) for said in ("fail", "pass"))
    bad["part"], good["part"] = good["part"], bad["part"]
    table = pa.Table.from_pylist(rows, schema=predicted.SCHEMA)
    predicted.write_shard(tiny.home, "tiny", DAY, 2, table)


def _record_promotion(tiny: Tiny) -> None:
    bundle = live_name(tiny.home, "tiny")
    assert bundle is not None
    switch = Switch("tiny", 1, "promote", bundle, None, "Ada", "", None)
    ledger.append(tiny.home.promotions("tiny"), switch.as_entry())


def _verify(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, *options: str) -> Result:
    monkeypatch.setenv("LOUPE_HOME", str(tiny.home.root))
    return CliRunner().invoke(main, ["audit", "verify", "--line", "tiny", *options])


def test_verdicts_that_were_changed_behind_the_ledger_are_found(
    published: Tiny, store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    _record_promotion(published)
    found = _verify(published, monkeypatch)
    assert json.loads(found.stdout) == {
        "days": 1,
        "entries": 10,
        "found_reviews": 0,
        "intact": True,
    }
    # Of one day no reviews are read, and none is said to be found.
    of_day = json.loads(_verify(published, monkeypatch, "--day", DAY).stdout)
    assert of_day["found_reviews"] is None
    _pass_all(published, 2)
    found = _verify(published, monkeypatch)
    assert (found.exit_code, found.stdout) == (2, "")
    assert f"{DAY}.jsonl: not what the predictions say, of shards 2\n" in found.stderr
    # A change that is published is a new line of the ledger.
    publish(published.home, store, "tiny", DAY)
    check_recorded(published.home, store, "tiny", DAY)


def test_a_verdict_that_was_given_to_another_part_is_found(
    published: Tiny, store: ResultStore
) -> None:
    check_recorded(published.home, store, "tiny")
    _swap_parts(published)
    with pytest.raises(LedgerError, match=r"of shards 2\n"):
        check_recorded(published.home, store, "tiny")


def test_a_ledger_of_an_earlier_loupe_still_vouches_for_its_verdicts(
    published: Tiny, store: ResultStore
) -> None:
    path = published.home.ledger("tiny", DAY)
    entries = ledger.entries(path)
    path.unlink()
    earlier = {
        number: digest_of(rows, RECORDED_EARLIER)
        for number, rows in by_shard(published.home, "tiny", DAY)
    }
    ledger.extend(path, [entry | {"digest": earlier[entry["shard"]]} for entry in entries])
    check_recorded(published.home, store, "tiny")
    _pass_all(published, 2)
    with pytest.raises(LedgerError, match=r"of shards 2\n"):
        check_recorded(published.home, store, "tiny")


def test_nights_before_a_day_are_left_out_but_no_ledger_without_one(
    published: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    promotions = published.home.promotions("tiny")
    _record_promotion(published)
    _pass_all(published, 2)
    assert "of shards 2" in _verify(published, monkeypatch, "--since", DAY).stderr
    found = _verify(published, monkeypatch, "--since", "2030-01-01")
    assert json.loads(found.stdout) == {"days": 0, "entries": 1, "found_reviews": 0, "intact": True}
    promotions.write_text(promotions.read_text().replace('"Ada"', '"Eve"'))
    found = _verify(published, monkeypatch, "--since", "2030-01-01")
    assert "promotions.jsonl, line 1: altered" in found.stderr
    for options in (("--since", "1 May"), ("--since", DAY, "--day", DAY)):
        assert _verify(published, monkeypatch, *options).exit_code == 2


@pytest.mark.parametrize(("kept", "named"), [(None, "not there"), (8, "of shards 8$")])
def test_a_ledger_that_lost_its_end_or_is_gone_is_found(
    published: Tiny, store: ResultStore, kept: int | None, named: str
) -> None:
    path = published.home.ledger("tiny", DAY)
    lines = path.read_text().splitlines(keepends=True)
    path.unlink()
    if kept is not None:
        path.write_text("".join(lines[:kept]))
    with pytest.raises(LedgerError, match=f"(?m){DAY}.jsonl: .*{named}"):
        check_recorded(published.home, store, "tiny")


def test_a_night_that_the_results_store_lost_is_found(published: Tiny, store: ResultStore) -> None:
    store.delete("nights", [f"tiny__{DAY}"])
    for day in (None, DAY):
        with pytest.raises(LedgerError, match=f"{DAY}.jsonl: the results store has no such night"):
            check_recorded(published.home, store, "tiny", day)
    check_recorded(published.home, store, "tiny", since="2030-01-01")
    check_recorded(published.home, store, "tiny", "promotions")


def test_a_shard_that_the_predictions_lost_is_found(published: Tiny, store: ResultStore) -> None:
    table = DeltaTable(str(published.home.table("tiny", "predictions")))
    table.delete("shard = 2")
    with pytest.raises(LedgerError, match="published with 60 images, and has 53"):
        check_recorded(published.home, store, "tiny", DAY)
