"""Liveness and readiness tell the truth."""

from live_line import LINE


def test_a_live_process_says_so(client):
    assert client.get("/healthz").get_json() == {"status": "ok"}


def test_a_fresh_installation_is_ready_and_says_that_no_bundle_is_live(client):
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.get_json()["lines"][LINE]["detail"] == "no bundle is live yet"


def test_a_verified_bundle_is_named(client, bundle):
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.get_json()["lines"][LINE]["bundle"] == bundle.name


def test_an_altered_bundle_makes_it_not_ready_and_says_why(client, bundle):
    (bundle.folder / "extra.txt").write_text("x")
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "extra.txt" in answer.get_json()["lines"][LINE]["detail"]


def test_a_results_store_that_cannot_be_read_makes_it_not_ready(client, home):
    home.root.mkdir(exist_ok=True)
    home.results.write_bytes(b"not a database" * 100)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "results.db" in answer.get_json()["results"]
    assert client.get("/v1/lines").status_code == 503
