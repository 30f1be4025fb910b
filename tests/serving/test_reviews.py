"""A person's verdict is recorded once, checked, and only for a part that is known."""

import errno

import pytest
from live_line import LINE
from tiny_line import make_env

from ml.audit import reviews as ledger_of_reviews
from ml.errors import ResultsError
from ml.results import open_results
from ml.results.sqlite import SQLiteStore
from serving import create_app

pytestmark = pytest.mark.usefixtures("documents")

SHA256 = "1" * 64
REVIEW = {"sha256": SHA256, "verdict": "fail", "defect_type": "red", "by": "ana", "comment": "x"}


def post(client, **changes):
    return client.post(f"/v1/lines/{LINE}/reviews", json=REVIEW | changes)


def test_a_review_is_kept_under_its_own_id(client, home):
    answer = post(client)
    assert answer.status_code == 201
    store = open_results(make_env(home.root), home)
    kept = store.get("reviews", f"{LINE}__{SHA256[:16]}__ana")
    assert kept == answer.get_json()
    assert {key: kept[key] for key in REVIEW} == REVIEW
    assert kept["line"] == LINE
    assert kept["at"]


def test_sending_it_again_changes_nothing(client):
    first = post(client)
    second = post(client)
    assert second.status_code == 200
    assert second.get_json() == first.get_json()


def test_every_review_stands_in_the_ledger(client, home):
    for verdict in ("fail", "fail", "pass"):
        post(client, verdict=verdict, defect_type="")
    said = ledger_of_reviews.read(home.ledgers(LINE))
    assert [(one["step"], one["review"]["verdict"]) for one in said] == [
        ("review", "fail"),
        ("review", "pass"),
    ]
    (stored,) = open_results(make_env(home.root), home).find("reviews")
    assert said[1]["review"] | {"id": said[1]["id"]} == stored


def _history(client, sha256=SHA256, **more):
    return client.get(f"/v1/lines/{LINE}/reviews?sha256={sha256}", **more)


def test_the_history_of_an_image_has_all_that_was_said_of_it_latest_first(client, home):
    assert _history(client).get_json() == {"items": []}
    post(client, comment="scratch")
    post(client, verdict="pass", defect_type="", comment="only dust")
    post(client, sha256="2" * 64)
    store = open_results(make_env(home.root), home)
    other = {"line": LINE, "sha256": SHA256, "verdict": "fail", "by": "bo", "at": "2999-01-01"}
    store.put("reviews", {"elsewhere": other})
    (path,) = home.ledgers(LINE).glob("reviews-*")
    path.write_text(path.read_text() + f'{{"half": "{SHA256}')
    items = _history(client).get_json()["items"]
    assert items[0] == other | {"id": "elsewhere"}
    said = [(one["by"], one["verdict"], one["comment"]) for one in items[1:]]
    assert said == [("ana", "pass", "only dust"), ("ana", "fail", "scratch")]
    assert all(one["at"] for one in items)
    path.write_text(f'{{"altered": "{SHA256}"}}\n')
    assert "reviews-" in _history(client).get_json()["error"]["message"]


def test_a_history_needs_an_image_and_the_token(client, config):
    assert _history(client, sha256="abc").get_json()["error"]["code"] == "bad_sha256"
    guarded = create_app(config | {"LOUPE_TOKEN": "secret"}).test_client()
    assert _history(guarded).status_code == 401
    assert _history(guarded, headers={"Authorization": "Bearer secret"}).status_code == 200


def test_a_review_that_the_store_does_not_take_stands_in_the_ledger(client, home, monkeypatch):
    def refuse(*_):
        raise ResultsError("the store did not answer")

    monkeypatch.setattr(SQLiteStore, "put", refuse)
    assert post(client).status_code == 503
    (said,) = ledger_of_reviews.read(home.ledgers(LINE))
    assert said["review"]["by"] == "ana"


def test_a_host_that_only_reads_its_home_takes_reviews_still(client, home, monkeypatch, caplog):
    def refuse(*_):
        raise PermissionError(errno.EROFS, "read-only")

    monkeypatch.setattr(ledger_of_reviews, "record", refuse)
    assert post(client).status_code == 201
    assert "stored without an entry in the ledger" in caplog.text


def test_a_review_that_the_disk_does_not_take_is_refused_and_not_stored(client, home, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ledger_of_reviews, "record", refuse)
    answer = post(client)
    assert answer.status_code == 503
    assert "not recorded: " in answer.get_json()["error"]["message"]
    assert open_results(make_env(home.root), home).find("reviews") == []


def test_a_review_that_the_ledger_lost_is_recorded_when_it_is_sent_again(client, home):
    post(client)
    (path,) = home.ledgers(LINE).glob("reviews-*")
    path.unlink()
    assert post(client).status_code == 200
    assert len(ledger_of_reviews.read(home.ledgers(LINE))) == 1


def test_a_change_of_mind_replaces_it(client, home):
    post(client)
    assert post(client, verdict="pass", defect_type="").status_code == 201
    found = open_results(make_env(home.root), home).find("reviews")
    assert [review["verdict"] for review in found] == ["pass"]


def test_sending_it_again_after_another_verdict_is_the_last_word(client, home):
    store = open_results(make_env(home.root), home)
    first = post(client).get_json()
    for by, at in (("ana", "2026-01-06"), ("bo", "2026-01-07")):
        review = {**first, "by": by, "at": f"{at}T08:00:00+00:00"}
        store.put("reviews", {f"{LINE}__{SHA256[:16]}__{by}": review})
    assert post(client).status_code == 201
    assert post(client).status_code == 200
    last = max(store.find("reviews"), key=lambda review: review["at"])
    assert last["by"] == "ana"


def test_sending_it_again_after_one_who_named_the_image_is_the_last_word(client, home):
    store = open_results(make_env(home.root), home)
    first = post(client).get_json()
    later = {**first, "by": "bo", "object": "own.png", "verdict": "pass", "at": "2999-01-01"}
    store.put("reviews", {f"{LINE}__{SHA256[:16]}__bo": later})
    assert post(client).status_code == 201


def test_the_name_of_an_image_is_taken_as_it_is(client):
    assert post(client, object=" 1/own.png").get_json()["object"] == " 1/own.png"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"verdict": "review"}, "verdict"),
        ({"verdict": "pass"}, "defect_type"),
        ({"defect_type": "OK"}, "defect_type"),
        ({"defect_type": "good"}, "defect_type"),
        ({"sha256": "abc"}, "sha256"),
        ({"by": ""}, "by"),
        ({"by": "a/b"}, "by"),
        ({"comment": "x" * 2001}, "comment"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_wrong_review_is_refused_and_names_the_field(client, changes, named):
    answer = post(client, **changes)
    assert answer.status_code == 422
    assert named in answer.get_json()["error"]["message"]


@pytest.fixture
def copy(home):
    """A part that is held because its image is that of the part under review."""
    store = open_results(make_env(home.root), home)
    for object_, tail in (("own.png", ""), ("copy.png", "-0123456789abcdef")):
        part = {"line": LINE, "day": "2030-01-01", "sha256": SHA256, "object": object_}
        store.put("parts", {f"{LINE}__2030-01-01__{SHA256[:16]}{tail}": part})


@pytest.mark.usefixtures("copy")
def test_a_review_of_an_image_that_two_parts_have_says_which_it_means(client, home):
    answer = post(client)
    assert answer.status_code == 422
    assert "copy.png may be that of another part" in answer.get_json()["error"]["message"]
    own = post(client, object="own.png").get_json()
    assert own["id"] == f"{LINE}__{SHA256[:16]}__ana"
    copied = post(client, object="copy.png", verdict="pass", defect_type="").get_json()
    assert copied["id"] == f"{LINE}__{SHA256[:16]}-0123456789abcdef__ana"
    # Neither replaces the other, nor is it a later word on it.
    store = open_results(make_env(home.root), home)
    store.put("reviews", {copied.pop("id"): copied | {"at": "2999-01-01"}})
    assert post(client, object="own.png").status_code == 200


def test_a_part_nobody_knows_cannot_be_reviewed(client):
    answer = post(client, sha256="f" * 64)
    assert answer.status_code == 404


def test_a_form_from_another_site_is_refused(client):
    answer = client.post(f"/v1/lines/{LINE}/reviews", data=REVIEW)
    assert answer.status_code == 415


@pytest.mark.parametrize(("header", "status"), [(None, 401), ("wrong", 401), ("secret", 201)])
def test_with_a_token_set_a_review_needs_it(config, header, status):
    client = create_app(config | {"LOUPE_TOKEN": "secret"}).test_client()
    headers = {"Authorization": f"Bearer {header}"} if header else {}
    answer = client.post(f"/v1/lines/{LINE}/reviews", json=REVIEW, headers=headers)
    assert answer.status_code == status
