"""Reviews of the store are held against the ledger, and what was not finished gets finished."""

import pytest
from tiny_line import Tiny

from ml.audit import reviews
from ml.backup.backup import backup
from ml.backup.restore import restore
from ml.backup.vault import Vault
from ml.data import catalog
from ml.errors import LedgerError
from ml.results import open_results
from ml.results.sqlite import SQLiteStore
from ml.review.recorded import check_reviews
from ml.review.verdicts import review


@pytest.fixture
def store(tiny: Tiny):
    return open_results(tiny.env, tiny.home)


@pytest.fixture
def given(tiny: Tiny, store):
    """A review as the API records and stores it."""
    sha256 = catalog.read_images(tiny.home, "tiny")["sha256"][0].as_py()
    body = {"line": "tiny", "sha256": sha256, "object": "", "verdict": "fail", "defect_type": ""}
    body |= {"by": "Ada", "at": "2026-01-06T08:00:00+00:00", "comment": ""}
    reviews.record(tiny.home.ledgers("tiny"), {"r": body})
    store.put("reviews", {"r": body})
    return body


def test_a_review_that_was_recorded_but_not_stored_is_named_and_then_written(
    tiny: Tiny, store, given
) -> None:
    assert check_reviews(tiny.home, store, "tiny") == 0
    store.delete("reviews", ["r"])
    with pytest.raises(LedgerError, match=r"reviews, recorded, but .* no such document.*: r\. An"):
        check_reviews(tiny.home, store, "tiny")
    assert review(tiny.home, "tiny", store).labels == 1
    assert store.get("reviews", "r") == given | {"id": "r"}
    assert check_reviews(tiny.home, store, "tiny") == 0


def test_reviews_of_a_store_that_was_lost_come_back(tiny: Tiny, store, given) -> None:
    tiny.home.results.unlink()
    assert review(tiny.home, "tiny", store).labels == 1
    assert store.find("reviews") == [given | {"id": "r"}]


def test_a_review_that_was_altered_is_named_and_no_label(tiny: Tiny, store, given, caplog) -> None:
    store.put("reviews", {"r": given | {"verdict": "pass"}})
    for _ in range(2):
        assert review(tiny.home, "tiny", store).labels == 0
        assert "review r left out: it was altered since it was recorded" in caplog.text
        with pytest.raises(LedgerError, match=r"reviews, not as it was recorded: r\. The"):
            check_reviews(tiny.home, store, "tiny")


def test_beside_an_altered_ledger_no_label_is_made_until_a_person_takes_it_away(
    tiny: Tiny, store, given
) -> None:
    (path,) = tiny.home.ledgers("tiny").glob("reviews-*")
    path.write_text(path.read_text().replace("fail", "pass"))
    with pytest.raises(LedgerError, match=r"line 1: altered.*; keep the file .* in another folder"):
        review(tiny.home, "tiny", store)
    path.rename(tiny.home.root / path.name)
    assert review(tiny.home, "tiny", store).labels == 1
    assert check_reviews(tiny.home, store, "tiny") == 1


def test_a_half_written_line_of_a_month_that_is_over_is_cut_off(tiny: Tiny, store, given) -> None:
    (path,) = tiny.home.ledgers("tiny").glob("reviews-*")
    over = path.rename(path.with_name("reviews-2020-01.jsonl"))
    whole = over.read_bytes()
    over.write_bytes(whole + b'{"previous": "')
    assert review(tiny.home, "tiny", store).labels == 1
    assert over.read_bytes() == whole


def test_a_review_that_nobody_recorded_is_named_and_taken_as_found(
    tiny: Tiny, store, given
) -> None:
    store.put("reviews", {"x": given | {"by": "Bo"}})
    with pytest.raises(LedgerError, match=r"reviews, in the results store, but never .*: x\. An"):
        check_reviews(tiny.home, store, "tiny")
    review(tiny.home, "tiny", store)
    assert check_reviews(tiny.home, store, "tiny") == 1
    last = reviews.read(tiny.home.ledgers("tiny"))[-1]
    assert (last["id"], last["step"], last["review"]["by"]) == ("x", "found", "Bo")


@pytest.mark.parametrize(("of", "name"), [(reviews, "read"), (SQLiteStore, "find")])
def test_a_review_that_comes_while_they_are_read_is_no_difference(
    tiny: Tiny, store, given, monkeypatch, of, name
) -> None:
    real, changed = getattr(of, name), given | {"verdict": "pass"}

    def read(*args, **more):
        found = real(*args, **more)
        reviews.record(tiny.home.ledgers("tiny"), {"r": changed, "x": changed})
        store.put("reviews", {"r": changed, "x": changed})
        return found

    monkeypatch.setattr(of, name, read)
    assert check_reviews(tiny.home, store, "tiny") == 0


def test_a_backup_has_the_ledger_of_reviews(tiny: Tiny, store, given, tmp_path) -> None:
    before = reviews.read(tiny.home.ledgers("tiny"))
    vault = Vault(tmp_path / "vault")
    backup(tiny.home, vault)
    restored = type(tiny.home)(tmp_path / "restored")
    restore(restored, vault)
    assert reviews.read(restored.ledgers("tiny")) == before
    assert len(before) == 1
    assert check_reviews(restored, SQLiteStore(restored.results), "tiny") == 0
