"""The results API gives what the pipeline wrote, as ARCHITECTURE.md says."""

import pytest
import tiny_line
from live_line import DAYS, LINE

from ml import files
from ml.audit import ledger
from ml.results import open_results
from ml.results.sqlite import SQLiteStore

pytestmark = pytest.mark.usefixtures("documents")


def items(client, path):
    return client.get(f"/v1/lines/{LINE}/{path}").get_json()["items"]


def test_the_glance_shows_the_latest_night_and_the_worst_severity(client, bundle):
    (line,) = client.get("/v1/lines").get_json()["lines"]
    assert line["line"] == LINE
    assert line["title"] == "Tiny plates"
    assert line["bundle"] == bundle.name
    assert line["night"]["day"] == DAYS[1]
    assert (line["severity"], line["alerts"]) == ("alarm", 1)


def test_the_glance_counts_the_alerts_of_a_night_that_no_drift_check_saw(client, home):
    store = open_results(tiny_line.make_env(home.root), home)
    night = {"line": LINE, "day": "2030-01-01", "images": 3}
    store.put("nights", {f"{LINE}__2030-01-01": night})
    store.put("alerts", {f"{LINE}__2030-01-01__held": {"line": LINE, "day": "2030-01-01"}})
    (line,) = client.get("/v1/lines").get_json()["lines"]
    assert (line["severity"], line["alerts"]) == ("alarm", 2)


@pytest.mark.parametrize(("day", "kind"), [("2030-01-01", "deadline"), ("2026-01-04", "missed")])
def test_the_glance_counts_the_alerts_of_a_night_that_never_came(client, home, day, kind):
    store = open_results(tiny_line.make_env(home.root), home)
    alert = {"line": LINE, "day": day, "kind": kind}
    store.put("alerts", {f"{LINE}__{day}__{kind}": alert})
    assert client.get("/v1/lines").get_json()["lines"][0]["alerts"] == 2


def test_the_glance_asks_no_more_often_after_a_long_outage(app, client, home, monkeypatch):
    store = open_results(tiny_line.make_env(home.root), home)

    def miss(number):
        day = f"2026-02-{number:02d}"
        alert = {"line": LINE, "day": day, "kind": "missed"}
        store.put("alerts", {f"{LINE}__{day}__missed": alert})

    def glance():
        asked = []
        real = SQLiteStore._select
        with monkeypatch.context() as patch:
            patch.setattr(
                SQLiteStore,
                "_select",
                lambda *args: (asked.append(args), real(*args))[1],
            )
            (line,) = client.get("/v1/lines").get_json()["lines"]
        return line["alerts"], len(asked)

    miss(1)
    alerts, calls = glance()
    for number in range(2, 29):
        miss(number)
    assert glance() == (alerts + 27, calls)


def test_a_night_that_never_ran_long_ago_makes_the_glance_read_no_older_days(
    client, home, monkeypatch
):
    store = open_results(tiny_line.make_env(home.root), home)
    for day, kind in (("2024-01-01", "missed"), ("2024-01-01", "deadline"), ("2024-01-02", "held")):
        store.put("alerts", {f"{LINE}__{day}__{kind}": {"line": LINE, "day": day, "kind": kind}})
    store.put("nights", {f"{LINE}__2024-01-02": {"line": LINE, "day": "2024-01-02"}})
    read = []
    real = SQLiteStore.find

    def find(self, *args, **more):
        read.extend(found := real(self, *args, **more))
        return found

    monkeypatch.setattr(SQLiteStore, "find", find)
    assert client.get("/v1/lines").get_json()["lines"][0]["alerts"] == 2
    assert {one["day"] for one in read if "day" in one} == {"2024-01-01", DAYS[1]}


def test_the_glance_leaves_out_the_alerts_of_nights_that_are_over(client, home):
    store = open_results(tiny_line.make_env(home.root), home)
    for kind in ("missed", "image"):
        alert = {"line": LINE, "day": DAYS[0], "kind": kind}
        store.put("alerts", {f"{LINE}__{DAYS[0]}__{kind}": alert})
    assert client.get("/v1/lines").get_json()["lines"][0]["alerts"] == 1


def test_the_glance_calls_nothing_free_of_drift_that_was_not_tested(client, home):
    store = open_results(tiny_line.make_env(home.root), home)
    window = {"line": LINE, "day": "2030-01-01", "severity": "none", "note": "too few groups"}
    store.put("windows", {f"{LINE}__2030-01-01__image": window})
    assert client.get("/v1/lines").get_json()["lines"][0]["severity"] is None


def test_a_line_has_its_live_run_and_latest_night(client, bundle):
    body = client.get(f"/v1/lines/{LINE}").get_json()
    assert body["line"]["line"] == LINE
    assert body["run"]["bundle"] == bundle.name
    assert body["night"]["day"] == DAYS[1]


def test_the_validation_page_is_named_where_it_is(client, home):
    assert client.get(f"/v1/lines/{LINE}").get_json()["validation"] is None
    page = home.reports(LINE) / "validate" / "index.html"
    files.write_bytes(page, b"<html>")
    path = client.get(f"/v1/lines/{LINE}").get_json()["validation"]
    assert client.get(f"/reports/{path}").data == b"<html>"


@pytest.mark.parametrize("collection", ["nights", "windows", "alerts", "parts"])
def test_documents_come_newest_first(client, collection):
    days = [item["day"] for item in items(client, collection)]
    assert days == sorted(days, reverse=True)
    assert days[0] == DAYS[1]


def test_the_live_run_comes_first(client, bundle):
    assert [run["decision"] for run in items(client, "runs")] == ["promoted", "kept"]


@pytest.fixture
def earlier(home, bundle):
    """Two earlier champions; the one that was live last has the greater id."""
    store = open_results(tiny_line.make_env(home.root), home)
    for turn, name in enumerate(("8" * 32, "7" * 32, "8" * 32, bundle.name), 1):
        store.put("runs", {f"{LINE}__{name}": {"line": LINE, "bundle": name}})
        ledger.append(home.ledger(LINE, "promotions"), {"key": str(turn), "bundle": name})
    refused = {"key": "rejection", "step": "reject", "bundle": "7" * 32}
    ledger.append(home.ledger(LINE, "promotions"), refused)


@pytest.mark.usefixtures("earlier")
def test_runs_come_in_the_order_of_promotion_and_no_limit_cuts_off_the_live_one(client, bundle):
    order = [bundle.name, "8" * 32, "7" * 32, "0" * 32]
    for limit in (1, 3, 4):
        found = [run["bundle"] for run in items(client, f"runs?limit={limit}")]
        assert found == order[:limit]


@pytest.mark.usefixtures("earlier")
def test_an_altered_ledger_leaves_the_live_run_first(client, home, bundle):
    path = home.ledger(LINE, "promotions")
    path.write_text(path.read_text().replace("8888", "9999"))
    assert items(client, "runs?limit=1")[0]["bundle"] == bundle.name


def test_parts_are_narrowed_by_day_verdict_and_limit(client):
    assert len(items(client, "parts")) == 6
    assert len(items(client, f"parts?day={DAYS[0]}")) == 3
    assert [p["verdict"] for p in items(client, f"parts?day={DAYS[0]}&verdict=fail")] == ["fail"]
    assert len(items(client, "parts?limit=2")) == 2


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("day=yesterday", "bad_day"),
        ("verdict=pass", "bad_verdict"),
        ("limit=0", "bad_limit"),
        ("limit=1001", "bad_limit"),
        ("limit=²", "bad_limit"),
    ],
)
def test_a_wrong_query_is_refused_with_its_value(client, query, code):
    answer = client.get(f"/v1/lines/{LINE}/parts?{query}")
    assert answer.status_code == 400
    assert answer.get_json()["error"]["code"] == code
    assert repr(query.split("=")[1]) in answer.get_json()["error"]["message"]


@pytest.mark.parametrize("path", ["", "/nights", "/runs", "/windows", "/alerts", "/parts"])
def test_an_unknown_line_is_a_404_that_names_it(client, path):
    answer = client.get(f"/v1/lines/elsewhere{path}")
    assert answer.status_code == 404
    assert "'elsewhere'" in answer.get_json()["error"]["message"]


def test_the_current_model_comes_with_its_card(client, bundle):
    body = client.get(f"/v1/models/current?line={LINE}").get_json()
    assert body["bundle"] == bundle.name
    assert body["number"] == 1
    assert body["card"]["classes"] == ["ok", "red"]


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/lines/tiny/nothing"])
def test_an_unknown_address_is_a_json_404(client, path):
    answer = client.get(path)
    assert answer.status_code == 404
    assert set(answer.get_json()["error"]) == {"code", "message"}


def test_a_wrong_method_is_a_json_405(client):
    answer = client.get("/v1/predict")
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]
    assert answer.get_json()["error"]["code"] == "method_not_allowed"
