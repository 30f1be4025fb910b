"""A line shows before its first promotion, also when its file is wrong."""

import pytest
from live_line import LINE

from ml import files
from ml.results.sqlite import SQLiteStore


def test_a_line_file_alone_is_shown(client):
    (line,) = client.get("/v1/lines").get_json()["lines"]
    assert line["title"] == "Tiny plates"
    assert line["models"] == ["classifier", "segmenter", "anomaly"]
    assert (line["bundle"], line["night"], line["severity"], line["alerts"]) == (
        None, None, None, 0,
    )  # fmt: skip
    body = client.get(f"/v1/lines/{LINE}").get_json()
    assert (body["run"], body["night"]) == (None, None)


def test_no_line_at_all_is_an_empty_list(client, home):
    (home.root.parent / "lines" / "tiny.toml").unlink()
    assert client.get("/v1/lines").get_json() == {"lines": []}


def test_a_wrong_line_file_says_so_and_leaves_the_others(client, home):
    files.write_bytes(home.root.parent / "lines" / "odd.toml", b'name = "odd"\nsurprise = 1\n')
    odd, tiny = client.get("/v1/lines").get_json()["lines"]
    assert "surprise" in odd["description"]
    assert tiny["title"] == "Tiny plates"


def test_a_line_without_a_live_bundle_has_no_current_model(client):
    answer = client.get(f"/v1/models/current?line={LINE}")
    assert answer.status_code == 404
    assert answer.get_json()["error"]["code"] == "no_live_bundle"


@pytest.mark.parametrize("name", ["a/b", "..", "__x__", "tiny/"])
def test_no_store_is_asked_for_a_name_that_no_line_has(client, monkeypatch, name):
    # Firestore answers these with an error of its own.
    monkeypatch.setattr(SQLiteStore, "get", lambda *_: pytest.fail("asked"))
    answer = client.get("/v1/models/current", query_string={"line": name})
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (404, "unknown_line")
