"""The ledger tells when a line was altered, removed, re-ordered or half-written."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.audit.ledger import append, entries, extend, verify
from ml.errors import LedgerError

values = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3)


@pytest.fixture
def path(tmp_path):
    found = tmp_path / "ledger" / "2026-01-09.jsonl"
    for number in range(4):
        assert append(found, {"key": str(number), "verdict": "pass"})
    return found


def test_an_untouched_ledger_verifies(path):
    assert verify(path) == 4


def test_the_same_key_is_written_once(path):
    assert not append(path, {"key": "2", "verdict": "fail"})
    assert verify(path) == 4


def test_what_changes_back_is_written_again_and_a_repeat_is_not(path):
    story = [("a", 0), ("a", 1), ("b", 0), ("b", 0), ("a", 0), ("a", 1), ("a", 0)]
    written = [extend(path, [{"key": key, "shard": shard}], "shard") for key, shard in story]
    assert written == [1, 1, 1, 0, 1, 0, 0]


@pytest.mark.parametrize("line", [0, 1, 3])
def test_an_altered_line_is_named(path, line):
    rows = path.read_text().splitlines()
    rows[line] = rows[line].replace("pass", "fail")
    path.write_text("\n".join(rows) + "\n")
    with pytest.raises(LedgerError, match=f"line {line + 1}"):
        verify(path)


def test_a_removed_or_swapped_line_breaks_the_chain(path):
    rows = path.read_text().splitlines()
    path.write_text("\n".join([rows[0], rows[2], rows[3]]) + "\n")
    with pytest.raises(LedgerError, match="line 2"):
        verify(path)
    path.write_text("\n".join([rows[1], rows[0], *rows[2:]]) + "\n")
    with pytest.raises(LedgerError, match="line 1"):
        verify(path)


def test_a_half_written_last_line_is_cut_off_by_the_next_append(path):
    with path.open("ab") as file:
        file.write(b'{"previous": "12')
    with pytest.raises(LedgerError, match=r"line 5: the last line is half written.*If none was"):
        verify(path)
    assert len(entries(path)) == 4
    append(path, {"key": "4"})
    assert verify(path) == len(entries(path)) == 5


@pytest.mark.parametrize("damaged", [b"\0\xff", b"{}", b'"text"', b'{"entry": '])
def test_nothing_is_appended_to_a_ledger_whose_middle_was_altered(path, damaged):
    rows = path.read_bytes().splitlines()
    altered = b"\n".join([rows[0], damaged, *rows[2:]]) + b"\n"
    path.write_bytes(altered)
    with pytest.raises(LedgerError, match=rf"{path}, line 2: altered.*keep the file as evidence"):
        append(path, {"key": "4"})
    assert path.read_bytes() == altered
    path.rename(path.with_suffix(".evidence"))
    assert append(path, {"key": "4"})
    assert verify(path) == 1


@given(st.lists(values, min_size=1, max_size=6))
def test_any_entries_round_trip(tmp_path_factory, entries):
    found = tmp_path_factory.mktemp("ledger") / "day.jsonl"
    keyed = [{**entry, "key": str(number)} for number, entry in enumerate(entries)]
    for entry in keyed:
        append(found, entry)
    assert verify(found) == len(keyed)
    assert [json.loads(row)["entry"] for row in found.read_text().splitlines()] == keyed


def test_many_entries_are_the_same_as_one_after_the_other(tmp_path):
    story = [{"key": f"k{n % 5}", "shard": n % 3} for n in range(12)]
    for entry in story:
        extend(tmp_path / "one", [entry], within="shard")
    count = extend(tmp_path / "many", story, within="shard")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "many").read_bytes()
    assert count == verify(tmp_path / "many") > 5
    assert extend(tmp_path / "many", story[-1:], within="shard") == 0
