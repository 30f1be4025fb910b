"""Every review that was recorded stands in a chained ledger, and the documents are held to it."""

import multiprocessing
from pathlib import Path

import pytest

from ml import files
from ml.audit import ledger, reviews

BODY = {"line": "a", "sha256": "1" * 64, "verdict": "fail", "by": "Ada", "at": "2026-01-06T08"}


def _record(folder: Path, by: str) -> None:
    for number in range(20):
        reviews.record(folder, {f"{by}-{number}": BODY | {"by": by}})


def test_many_processes_record_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_record, args=(tmp_path, by)) for by in ("Ada", "Bo", "Cy")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len({entry["id"] for entry in reviews.read(tmp_path)}) == 60
    (path,) = tmp_path.iterdir()
    assert ledger.verify(path) == 60


def test_the_same_again_is_no_entry_and_a_change_of_mind_and_back_are_two(tmp_path: Path) -> None:
    for verdict in ("fail", "fail", "pass", "fail"):
        reviews.record(tmp_path, {"r": BODY | {"verdict": verdict}})
    said = [entry["review"]["verdict"] for entry in reviews.read(tmp_path)]
    assert said == ["fail", "pass", "fail"]


def test_months_are_read_in_order_and_an_append_reads_its_own_alone(tmp_path: Path) -> None:
    files.write_bytes(tmp_path / "reviews-2020-01.jsonl", b"not a ledger\n")
    reviews.record(tmp_path, {"r": BODY})
    (tmp_path / "reviews-2020-01.jsonl").unlink()
    old = {"key": "k", "step": "review", "id": "r", "review": BODY | {"verdict": "pass"}}
    ledger.append(tmp_path / "reviews-2020-02.jsonl", old)
    assert [entry["review"]["verdict"] for entry in reviews.read(tmp_path)] == ["pass", "fail"]


PASS, EDITED = BODY | {"verdict": "pass"}, BODY | {"comment": "edited"}


@pytest.mark.parametrize(
    ("stored", "kind", "expected"),
    [
        ({"r": BODY}, "", None),
        ({}, "unfinished", {"r": BODY}),
        ({"r": PASS}, "unfinished", {"r": BODY}),
        ({"r": EDITED}, "altered", ["r"]),
        ({"r": BODY, "x": PASS}, "unrecorded", {"x": PASS}),
    ],
)
def test_a_document_that_differs_is_of_one_kind(tmp_path: Path, stored, kind, expected) -> None:
    for body in (PASS, BODY):
        reviews.record(tmp_path, {"r": body})
    differ = vars(reviews.compare(reviews.read(tmp_path), stored))
    assert {name: value for name, value in differ.items() if value} == (
        {kind: expected} if kind else {}
    )


def test_what_was_found_may_change_past_the_ledger(tmp_path: Path) -> None:
    reviews.record(tmp_path, {"r": PASS}, "found")
    differ = reviews.compare(reviews.read(tmp_path), {"r": BODY})
    assert (differ.unrecorded, differ.altered) == ({"r": BODY}, [])


def test_what_was_found_before_a_review_does_not_replace_it(tmp_path: Path) -> None:
    reviews.record(tmp_path, {"r": BODY})
    reviews.record(tmp_path, {"r": PASS}, "found")
    entries = reviews.read(tmp_path)
    assert reviews.compare(entries, {"r": BODY}).unfinished == {}
    assert reviews.compare(entries, {"r": PASS}).unfinished == {"r": BODY}
