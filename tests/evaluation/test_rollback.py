"""Rollback walks back through the champions, ends well when killed, and is never guessed."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_line
from tiny_line import Tiny

from ml import files
from ml.audit import ledger
from ml.audit.promotions import Rejection, read_switches, rejected
from ml.bundle import live_bundle
from ml.bundle.history import champion_at
from ml.bundle.live import live_name, wait, waiting_name
from ml.errors import BundleError, LedgerError, StackError
from ml.evaluation import reject as rejecting
from ml.evaluation import switch as switching
from ml.evaluation.promote import gate, promote
from ml.evaluation.recorded import check_promotions
from ml.evaluation.registry import register
from ml.evaluation.reject import reject
from ml.evaluation.rollback import Rollback, rollback
from ml.inference.night import plan_night
from ml.results import open_results
from ml.training.tracking import open_client


@pytest.fixture(scope="module")
def two_bundles_home(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tiny, str, str]:
    """A home with two bundles of the same dataset, both in the registry."""
    folder = tmp_path_factory.mktemp("two")
    env = tiny_line.make_env(folder)
    tiny = Tiny(env, tiny_line.Home(folder), tiny_line.make_line())
    tiny_line.write_dataset(tiny.home, "tiny", tiny_line.add_images(tiny.home, "tiny"))
    tiny_line.write_runs(tiny.home, tiny.line)
    first = tiny.evaluate()
    second = _other_bundle(tiny)
    register(env, first, "challenger")
    return tiny, first.name, second


@pytest.fixture
def two(two_bundles_home: tuple[Tiny, str, str], tmp_path: Path) -> tuple[Tiny, str, str]:
    tiny, first, second = two_bundles_home
    folder = tmp_path / "home"
    shutil.copytree(tiny.home.root, folder)
    copy = Tiny(tiny_line.make_env(folder), tiny_line.Home(folder), tiny.line)
    return copy, first, second


def _other_bundle(tiny: Tiny) -> str:
    line = tiny.line.model_copy(update={"seed": 5})
    tiny_line.write_runs(tiny.home, line, gain=30.0)
    return replace(tiny, line=line).evaluate().name


def _promote(tiny: Tiny, name: str) -> None:
    promote(tiny.env, tiny.home, tiny.line, name, "test")


def _rollback(tiny: Tiny, **options: Any) -> Rollback:
    return rollback(tiny.env, tiny.home, tiny.line, "night shift", "too many escapes", **options)


def _reject(tiny: Tiny, name: str, by: str) -> Rejection:
    return reject(tiny.env, tiny.home, tiny.line, name, by, "looks odd")


def _decision(tiny: Tiny, name: str) -> str:
    run = open_results(tiny.env, tiny.home).get("runs", f"tiny__{name}")
    assert run is not None
    return str(run["decision"])


def _alias(tiny: Tiny) -> str:
    client = open_client(tiny.env)
    version = client.get_model_version_by_alias("loupe-tiny", "champion")
    return str(version.tags["bundle"])


def _assert_live(tiny: Tiny, name: str) -> None:
    """Everybody who can be asked says the same."""
    assert live_name(tiny.home, "tiny") == name
    assert _alias(tiny) == name
    store = open_results(tiny.env, tiny.home)
    line = store.get("lines", "tiny")
    run = store.get("runs", f"tiny__{name}")
    assert line is not None
    assert run is not None
    assert line["bundle"] == name
    assert run["decision"] == "promoted"
    assert read_switches(tiny.home.promotions("tiny"))[-1].bundle == name


def test_the_previous_champion_is_live_again(two: tuple[Tiny, str, str]) -> None:
    tiny, first, second = two
    _promote(tiny, first)
    _promote(tiny, second)
    done = _rollback(tiny)
    assert (done.bundle, done.withdrawn) == (first, second)
    _assert_live(tiny, first)
    last = read_switches(tiny.home.promotions("tiny"))[-1]
    assert (last.step, last.by, last.reason) == ("rollback", "night shift", "too many escapes")
    assert last.at is not None
    run = open_results(tiny.env, tiny.home).get("runs", f"tiny__{second}")
    assert run is not None
    assert run["decision"] == "rolled_back"
    assert run["reasons"][-1].endswith("by night shift: too many escapes")
    assert ledger.verify(tiny.home.promotions("tiny")) == 3


def test_rolling_back_again_walks_on_to_the_first_champion_and_no_further(
    two: tuple[Tiny, str, str],
) -> None:
    tiny, first, second = two
    for name in (first, second, first):
        _promote(tiny, name)
    assert [_rollback(tiny).bundle for _ in range(2)] == [second, first]
    with pytest.raises(BundleError, match="the first champion, there is none before it"):
        _rollback(tiny)
    _assert_live(tiny, first)
    _promote(tiny, second)
    assert _rollback(tiny).bundle == first


def test_a_first_champion_is_taken_out_by_its_file_and_comes_back_by_a_promotion(
    two: tuple[Tiny, str, str],
) -> None:
    tiny, first, _ = two
    _promote(tiny, first)
    with pytest.raises(BundleError, match=r"live/tiny\.json aside"):
        _rollback(tiny)
    tiny.home.live("tiny").rename(tiny.home.root / "aside.json")
    assert plan_night(tiny.home, tiny.line, tiny_line.DAY).bundle == ""
    assert gate(tiny.env, tiny.home, tiny.line, first).promote
    reject(tiny.env, tiny.home, tiny.line, first, "Ada", "lets scratches pass")
    assert not gate(tiny.env, tiny.home, tiny.line, first).promote
    for _ in range(2):
        promote(tiny.env, tiny.home, tiny.line, first, "Grace")
        _assert_live(tiny, first)
    # Who overruled the rejection is on record, and there is still no champion before the first.
    switches = read_switches(tiny.home.promotions("tiny"))
    assert [(one.by, one.previous) for one in switches] == [("test", None), ("Grace", None)]
    assert rejected(tiny.home.promotions("tiny"), first) is None
    with pytest.raises(BundleError, match="the first champion"):
        _rollback(tiny)


def test_a_champion_that_came_back_and_is_promoted_again_follows_what_it_followed(
    two: tuple[Tiny, str, str],
) -> None:
    tiny, first, second = two
    _promote(tiny, first)
    _promote(tiny, second)
    _rollback(tiny)
    tiny.home.live("tiny").rename(tiny.home.root / "aside.json")
    reject(tiny.env, tiny.home, tiny.line, first, "Ada", "lets scratches pass")
    assert promote(tiny.env, tiny.home, tiny.line, first, "Grace").previous is None
    assert read_switches(tiny.home.promotions("tiny"))[-1].previous is None


def test_without_a_promotion_there_is_nothing_to_roll_back(two: tuple[Tiny, str, str]) -> None:
    tiny, _, _ = two
    with pytest.raises(BundleError, match="nothing was promoted yet"):
        _rollback(tiny)
    assert live_bundle(tiny.home, "tiny") is None


def _check(tiny: Tiny) -> None:
    check_promotions(tiny.home, open_results(tiny.env, tiny.home), "tiny")


@pytest.mark.parametrize(
    ("kept", "named"), [(0, "not there, though a bundle is live"), (1, "it lost a line")]
)
def test_a_ledger_of_promotions_that_lost_its_end_or_is_gone_is_found(
    two: tuple[Tiny, str, str], kept: int, named: str
) -> None:
    tiny, first, second = two
    _promote(tiny, first)
    _promote(tiny, second)
    _check(tiny)
    path = tiny.home.promotions("tiny")
    lines = path.read_text().splitlines(keepends=True)
    path.unlink()
    if kept:
        path.write_text("".join(lines[:kept]))
    with pytest.raises(LedgerError, match=named):
        _check(tiny)


def test_an_older_bundle_put_in_the_place_of_the_live_one_is_found(
    two: tuple[Tiny, str, str],
) -> None:
    tiny, first, second = two
    _promote(tiny, first)
    before = tiny.home.live("tiny").read_bytes()
    _promote(tiny, second)
    tiny.home.live("tiny").write_bytes(before)
    with pytest.raises(LedgerError, match=f"promote 2, which makes bundle {second} live"):
        _check(tiny)
    _promote(tiny, second)
    _check(tiny)


def test_a_rejection_that_the_ledger_lost_is_found(two: tuple[Tiny, str, str]) -> None:
    tiny, first, second = two
    _promote(tiny, first)
    gate(tiny.env, tiny.home, tiny.line, second)
    path = tiny.home.promotions("tiny")
    before = path.read_bytes()
    _reject(tiny, second, "Ada")
    _check(tiny)
    path.write_bytes(before)
    with pytest.raises(LedgerError, match=f"rejected or rolled back.*: {second}"):
        _check(tiny)
    _reject(tiny, second, "Ada")
    _check(tiny)


def test_a_named_bundle_is_taken_out_once(two: tuple[Tiny, str, str]) -> None:
    tiny, first, second = two
    _promote(tiny, first)
    _promote(tiny, second)
    with pytest.raises(BundleError, match=f"{first} is not live; {second} is"):
        _rollback(tiny, bundle=first)
    done = _rollback(tiny, bundle=second)
    assert _rollback(tiny, bundle=second) == done
    _assert_live(tiny, first)


def test_an_altered_earlier_champion_does_not_come_back(two: tuple[Tiny, str, str]) -> None:
    tiny, first, second = two
    _promote(tiny, first)
    _promote(tiny, second)
    card = tiny.home.bundle(first) / "card.json"
    card.write_bytes(card.read_bytes() + b" ")
    with pytest.raises(BundleError, match=r"card\.json: altered"):
        _rollback(tiny)
    _assert_live(tiny, second)
    assert ledger.verify(tiny.home.promotions("tiny")) == 2


def test_a_champion_that_no_longer_loads_can_be_rolled_back(two: tuple[Tiny, str, str]) -> None:
    tiny, first, second = two
    _promote(tiny, first)
    _promote(tiny, second)
    (tiny.home.bundle(second) / "MANIFEST").unlink()
    assert _rollback(tiny).bundle == first
    _assert_live(tiny, first)


def _killed_at(patch: pytest.MonkeyPatch, place: str, step: Callable[[], object]) -> None:
    """Run a step that dies when it reaches a place."""

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    owner: Any = {
        "register": switching,
        "append": ledger,
        "write_json": files,
        "put_live": switching,
        "stop_waiting": rejecting,
        "put_out": rejecting,
    }
    with patch.context() as inner:
        inner.setattr(owner[place], place, die)
        with pytest.raises(KeyboardInterrupt):
            step()


# In the order of a switch.
PLACES = ("append", "write_json", "register", "put_live")


@pytest.mark.parametrize("place", PLACES)
def test_a_killed_rollback_is_finished_by_repeating_it(
    two: tuple[Tiny, str, str], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    tiny, first, second = two
    for name in (first, second, first):
        _promote(tiny, name)
    _killed_at(monkeypatch, place, lambda: _rollback(tiny))
    assert _rollback(tiny).bundle == second
    _assert_live(tiny, second)
    assert ledger.verify(tiny.home.promotions("tiny")) == 4


_SLEEPS_BEFORE_THE_LIVE_FILE = """
import sys, time
from pathlib import Path
import tiny_line
from ml import files
from ml.evaluation.rollback import rollback
def stop(*_):
    print("recorded", flush=True)
    time.sleep(300)
files.write_json = stop
env = tiny_line.make_env(Path(sys.argv[1]))
rollback(env, tiny_line.Home(env.home), tiny_line.make_line(), "test")
"""


def test_a_rollback_that_the_system_killed_is_finished_by_repeating_it(
    two: tuple[Tiny, str, str], project: Path
) -> None:
    tiny, first, second = two
    _promote(tiny, first)
    _promote(tiny, second)
    command = [sys.executable, "-c", _SLEEPS_BEFORE_THE_LIVE_FILE, str(tiny.home.root)]
    path = os.pathsep.join([str(project), str(project / "tests")])
    environ = {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "recorded\n"
        process.kill()
    assert live_name(tiny.home, "tiny") == second
    assert _rollback(tiny).bundle == first
    _assert_live(tiny, first)
    assert ledger.verify(tiny.home.promotions("tiny")) == 3


@pytest.mark.parametrize("place", PLACES)
def test_a_killed_promotion_is_finished_by_repeating_it_and_keeps_its_time(
    two: tuple[Tiny, str, str], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    tiny, first, second = two
    _promote(tiny, first)
    _killed_at(monkeypatch, place, lambda: _promote(tiny, second))
    recorded = read_switches(tiny.home.promotions("tiny"))[1:]
    _promote(tiny, second)
    _assert_live(tiny, second)
    switches = read_switches(tiny.home.promotions("tiny"))
    assert len(switches) == 2
    assert recorded in ([], switches[1:])


@pytest.mark.parametrize("place", PLACES)
def test_after_a_killed_promotion_another_bundle_or_a_rollback_is_recorded_right(
    two: tuple[Tiny, str, str], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    tiny, first, second = two
    _promote(tiny, first)
    _killed_at(monkeypatch, place, lambda: _promote(tiny, second))
    if place in ("register", "write_json"):
        _promote(tiny, first)
    elif place == "append":
        with pytest.raises(BundleError, match="none before it"):
            _rollback(tiny)
        _promote(tiny, first)
    else:
        assert _rollback(tiny).bundle == first
    _assert_live(tiny, first)


def test_a_rollback_takes_effect_while_the_registry_is_down(
    two: tuple[Tiny, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny, first, second = two
    for name in (first, second, first, second):
        _promote(tiny, name)

    def down(*_: object) -> str:
        msg = "MLflow does not answer"
        raise StackError(msg)

    with monkeypatch.context() as patch:
        patch.setattr(switching, "register", down)
        for _ in range(2):
            with pytest.raises(StackError):
                _rollback(tiny)
            assert live_name(tiny.home, "tiny") == first
    assert _rollback(tiny).bundle == first
    _assert_live(tiny, first)


def test_a_recorded_but_unfinished_promotion_is_no_answer(
    two: tuple[Tiny, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny, first, second = two
    _promote(tiny, first)
    _killed_at(monkeypatch, "write_json", lambda: _promote(tiny, second))
    at = read_switches(tiny.home.promotions("tiny"))[-1].at
    assert at is not None
    with pytest.raises(LedgerError, match="never finished; repeat it"):
        champion_at(tiny.home, "tiny", at)
    assert _rollback(tiny).bundle == first
    _assert_live(tiny, first)


def test_promotions_at_the_same_time_leave_one_champion_and_a_whole_ledger(
    two: tuple[Tiny, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny, first, second = two
    monkeypatch.setattr(switching, "register", lambda *_: "1")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: _promote(tiny, name), [first, second] * 6))
    switches = read_switches(tiny.home.promotions("tiny"))
    assert [one.number for one in switches] == list(range(1, len(switches) + 1))
    assert {one.bundle for one in switches} == {first, second}
    assert live_name(tiny.home, "tiny") == switches[-1].bundle
    line = open_results(tiny.env, tiny.home).get("lines", "tiny")
    assert line is not None
    assert line["bundle"] == switches[-1].bundle


def test_a_broken_live_file_is_mended_by_the_promotion_that_its_error_asks_for(
    two: tuple[Tiny, str, str],
) -> None:
    tiny, first, _ = two
    _promote(tiny, first)
    tiny.home.live("tiny").write_text("{")
    _promote(tiny, first)
    _assert_live(tiny, first)


def test_an_altered_history_stops_promotion_and_rollback(two: tuple[Tiny, str, str]) -> None:
    tiny, first, second = two
    _promote(tiny, first)
    _promote(tiny, second)
    path = tiny.home.promotions("tiny")
    path.write_text(path.read_text().replace('"by": "test"', '"by": "nobody"', 1))
    for step in (lambda: _promote(tiny, first), lambda: _rollback(tiny)):
        with pytest.raises(LedgerError, match=r"line 1: altered.* a new ledger begins"):
            step()
    path.rename(path.with_suffix(".evidence"))
    _promote(tiny, first)
    _assert_live(tiny, first)


def test_a_ledger_that_lost_its_last_line_is_noticed(two: tuple[Tiny, str, str]) -> None:
    tiny, first, second = two
    _promote(tiny, first)
    _promote(tiny, second)
    path = tiny.home.promotions("tiny")
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    with pytest.raises(LedgerError, match="lost a line"):
        _rollback(tiny)


def test_the_gate_does_not_bring_a_rolled_back_bundle_back(two: tuple[Tiny, str, str]) -> None:
    tiny, first, second = two
    _promote(tiny, first)
    _promote(tiny, second)
    _rollback(tiny)
    wait(tiny.home, "tiny", second)
    judgement = gate(tiny.env, tiny.home, tiny.line, second)
    assert not judgement.promote
    assert any("rolled back" in reason for reason in judgement.reasons)
    assert waiting_name(tiny.home, "tiny") is None
    assert _decision(tiny, second) == "rolled_back"
    _promote(tiny, second)
    _assert_live(tiny, second)


def test_a_rollback_to_a_bundle_that_is_gone_says_what_stays_live(
    two: tuple[Tiny, str, str],
) -> None:
    tiny, first, second = two
    _promote(tiny, first)
    _promote(tiny, second)
    shutil.rmtree(tiny.home.bundle(first))
    with pytest.raises(BundleError, match=f"{first}: not a bundle.*{second} stays live.*promote"):
        _rollback(tiny)
    _assert_live(tiny, second)


def test_a_challenger_waits_from_the_gate_to_its_promotion(two: tuple[Tiny, str, str]) -> None:
    tiny, first, second = two
    _promote(tiny, first)
    assert gate(tiny.env, tiny.home, tiny.line, second).promote
    assert waiting_name(tiny.home, "tiny") == second
    _promote(tiny, first)
    assert waiting_name(tiny.home, "tiny") == second
    _promote(tiny, second)
    assert waiting_name(tiny.home, "tiny") is None


def test_a_rejected_challenger_waits_no_more_and_the_ledger_says_by_whom(
    two: tuple[Tiny, str, str],
) -> None:
    tiny, first, second = two
    _promote(tiny, first)
    assert gate(tiny.env, tiny.home, tiny.line, second).promote
    done = [_reject(tiny, second, by) for by in ("inspector", "somebody later")]
    assert done[0] == done[1]
    assert (done[0].by, done[0].reason) == ("inspector", "looks odd")
    assert ledger.verify(tiny.home.promotions("tiny")) == 2
    assert waiting_name(tiny.home, "tiny") is None
    run = open_results(tiny.env, tiny.home).get("runs", f"tiny__{second}")
    assert run is not None
    assert run["decision"] == "rejected"
    assert run["reasons"][-1].endswith("by inspector: looks odd")
    _assert_live(tiny, first)
    # The gate does not bring it back; a person may.
    judgement = gate(tiny.env, tiny.home, tiny.line, second)
    assert any("rejected by inspector: looks odd" in reason for reason in judgement.reasons)
    assert (judgement.promote, waiting_name(tiny.home, "tiny")) == (False, None)
    assert _decision(tiny, second) == "rejected"
    _promote(tiny, second)
    _assert_live(tiny, second)


@pytest.mark.parametrize("place", ["stop_waiting", "put_out"])
def test_a_killed_rejection_is_finished_by_repeating_it(
    two: tuple[Tiny, str, str], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    tiny, _, second = two
    assert gate(tiny.env, tiny.home, tiny.line, second).promote
    _killed_at(monkeypatch, place, lambda: _reject(tiny, second, "inspector"))
    _reject(tiny, second, "inspector")
    assert waiting_name(tiny.home, "tiny") is None
    assert ledger.verify(tiny.home.promotions("tiny")) == 1
    run = open_results(tiny.env, tiny.home).get("runs", f"tiny__{second}")
    assert run is not None
    assert run["decision"] == "rejected"
    _promote(tiny, second)
    _assert_live(tiny, second)


def test_only_a_judged_bundle_that_is_not_live_can_be_rejected(two: tuple[Tiny, str, str]) -> None:
    tiny, first, _ = two
    _promote(tiny, first)
    with pytest.raises(BundleError, match="is live; take it out with `loupe rollback`"):
        _reject(tiny, first, "me")
    with pytest.raises(BundleError, match="has not judged a bundle 00"):
        _reject(tiny, "00", "me")
