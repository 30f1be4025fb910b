"""The ledger of promotions says which bundle was live at any time."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml import files
from ml.audit import ledger
from ml.audit.promotions import (
    Rejection,
    Switch,
    live_at,
    read_switches,
    rejected,
    rolled_back,
    standing,
)
from ml.bundle.history import champion_at
from ml.errors import LedgerError
from ml.settings import Home

START = datetime(2026, 5, 1, 8, tzinfo=UTC)


def _switch(number: int, bundle: str, previous: str | None, hours: float) -> Switch:
    at = START + timedelta(hours=hours)
    return Switch("tiny", number, "promote", bundle, previous, "me", "", at)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """`a` is live from 08:00 on, `b` from 10:00, `a` again, rolled back, from 13:00."""
    found = Home(tmp_path)
    back = replace(_switch(3, "a", "b", 5), step="rollback", reason="escapes")
    for one in (_switch(1, "a", None, 0), _switch(2, "b", "a", 2), back):
        ledger.append(found.promotions("tiny"), one.as_entry())
    files.write_json(found.live("tiny"), back.record)
    return found


@pytest.mark.parametrize(
    ("hours", "bundle", "since", "until"),
    [(0, "a", 0, 2), (1.99, "a", 0, 2), (2, "b", 2, 5), (4.9, "b", 2, 5), (5, "a", 5, None)],
)
def test_the_bundle_of_a_time_is_that_of_the_last_switch_before(
    home: Home, hours: float, bundle: str, since: float, until: float | None
) -> None:
    found, following = champion_at(home, "tiny", START + timedelta(hours=hours))
    assert found is not None
    assert (found.bundle, found.at) == (bundle, START + timedelta(hours=since))
    ended = None if following is None else following.at
    assert ended == (None if until is None else START + timedelta(hours=until))


def test_before_the_first_promotion_nothing_was_live(home: Home) -> None:
    found, following = champion_at(home, "tiny", START - timedelta(seconds=1))
    assert found is None
    assert following is not None
    assert following.bundle == "a"


def test_a_line_that_was_never_promoted_has_no_answer(home: Home) -> None:
    with pytest.raises(LedgerError, match="nothing was ever promoted on line other"):
        champion_at(home, "other", START)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_an_altered_history_gives_no_answer(home: Home, number: int) -> None:
    path = home.promotions("tiny")
    rows = path.read_text().splitlines()
    rows[number] = rows[number].replace('"by": "me"', '"by": "us"')
    path.write_text("\n".join(rows) + "\n")
    with pytest.raises(LedgerError, match=f"line {number + 1}: altered"):
        champion_at(home, "tiny", START)


def test_a_history_that_lost_its_last_line_gives_no_answer(home: Home) -> None:
    path = home.promotions("tiny")
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    with pytest.raises(LedgerError, match=r"ends with promotion 2, but number 3 .* lost a line"):
        champion_at(home, "tiny", START)


def test_entries_without_a_time_are_said_not_guessed(tmp_path: Path) -> None:
    home = Home(tmp_path)
    old = {"key": "promotion-000001", "by": "gate", "step": "promote"}
    old |= {"line": "tiny", "bundle": "a", "previous": None, "number": 1}
    ledger.append(home.promotions("tiny"), old)
    new = _switch(2, "b", "a", 0)
    ledger.append(home.promotions("tiny"), new.as_entry())
    files.write_json(home.live("tiny"), new.record)
    with pytest.raises(LedgerError, match="without its time"):
        champion_at(home, "tiny", START - timedelta(days=1))
    found, _ = champion_at(home, "tiny", START)
    assert found == new


def test_a_half_written_last_line_is_no_switch(home: Home) -> None:
    before = read_switches(home.promotions("tiny"))
    with home.promotions("tiny").open("ab") as file:
        file.write(b'{"entry": {"bundle": "c"')
    assert read_switches(home.promotions("tiny")) == before


def test_only_a_rollback_that_nobody_revised_counts(home: Home) -> None:
    switches = read_switches(home.promotions("tiny"))
    assert rolled_back(switches, "b") == switches[2]
    assert rolled_back(switches, "a") is None
    assert rolled_back([*switches, _switch(4, "b", "a", 6)], "b") is None


def test_a_rejection_is_no_switch_and_stands_until_the_bundle_is_promoted(home: Home) -> None:
    path = home.promotions("tiny")
    before = read_switches(path)
    no = Rejection("tiny", 3, "c", "you", "too slow", START + timedelta(hours=6))
    for _ in range(2):
        ledger.append(path, no.as_entry())
    assert (read_switches(path), ledger.verify(path)) == (before, 4)
    assert (rejected(path, "c"), rejected(path, "a")) == (no, None)
    found, _ = champion_at(home, "tiny", START + timedelta(hours=7))
    assert found == before[-1]
    ledger.append(path, _switch(4, "c", "a", 8).as_entry())
    assert rejected(path, "c") is None
    ledger.append(path, replace(no, number=4).as_entry())
    assert rejected(path, "c") == replace(no, number=4)


@given(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=20))
def test_what_stands_is_what_is_live(steps: list[str | None]) -> None:
    """A letter promotes, None rolls back where that can be done; the stack follows."""
    switches: list[Switch] = []
    for step in steps:
        stack = standing(switches)
        live = stack[-1].bundle if stack else None
        number = len(switches) + 1
        if step is None and len(stack) > 1:
            back = _switch(number, stack[-2].bundle, live, number)
            switches.append(replace(back, step="rollback"))
        elif step is not None and step != live:
            switches.append(_switch(number, step, live, number))
    stack = standing(switches)
    assert bool(stack) == bool(switches)
    for index, one in enumerate(switches):
        assert one.at is not None
        assert live_at(switches, one.at) == index
        assert one.previous == (switches[index - 1].bundle if index else None)
    if switches:
        assert stack[-1].bundle == switches[-1].bundle
