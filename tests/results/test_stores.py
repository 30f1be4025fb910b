"""Both stores keep the same promises: SQLite always, Firestore against the real emulator."""

import math
import multiprocessing
import os
import re
import sqlite3
from contextlib import closing
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from ml.errors import ResultsError, ResultsUnusableError
from ml.results.firestore import FirestoreStore
from ml.results.sqlite import SQLiteStore
from ml.services import firestore


@pytest.fixture(scope="session")
def emulator(tmp_path_factory):
    """The address of a running Firestore emulator."""
    if not firestore.installed():
        pytest.skip(f"Firestore emulator not installed (Debian package {firestore.PACKAGE})")
    with firestore.running(tmp_path_factory.mktemp("emulator")) as address:
        yield address


@pytest.fixture(params=["sqlite", pytest.param("firestore", marks=pytest.mark.emulator)])
def store(request, tmp_path, monkeypatch):
    if request.param == "sqlite":
        return SQLiteStore(tmp_path / "results.db")
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", request.getfixturevalue("emulator"))
    return FirestoreStore(f"test-{os.getpid()}-{abs(hash(request.node.name)) % 10**6}")


def test_a_document_comes_back_whole_under_its_id(store):
    body = {"line": "demo", "pass": 3, "p": 0.25, "nested": {"a": [1, 2]}, "none": None}
    assert store.put("nights", {"n1": body}) == 1
    assert store.get("nights", "n1") == {**body, "id": "n1"}
    assert store.get("nights", "other") is None
    assert store.get("elsewhere", "n1") is None


def test_writing_twice_changes_nothing_and_writing_anew_replaces(store):
    for _ in range(2):
        store.put("nights", {"n1": {"pass": 1, "fail": 2}})
    store.put("nights", {"n1": {"pass": 5}})
    assert store.find("nights") == [{"pass": 5, "id": "n1"}]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused_and_nothing_written(store, number):
    documents = {"good": {"line": "a"}, "bad": {"line": "a", "scores": {"anomaly": number}}}
    with pytest.raises(ResultsError, match="parts, document bad"):
        store.put("parts", documents)
    assert store.find("parts", {"line": "a"}) == []


def test_documents_are_found_by_fields_in_order(store):
    days = {f"d{n}": {"line": "a" if n % 2 else "b", "day": f"2026-01-0{n}"} for n in range(1, 6)}
    store.put("nights", days)
    found = store.find("nights", {"line": "a"}, descending=True, limit=2)
    assert [item["day"] for item in found] == ["2026-01-05", "2026-01-03"]
    assert store.count("nights", {"line": "b"}) == 2


@pytest.mark.parametrize("descending", [False, True])
def test_documents_are_found_from_an_id_on(store, descending):
    days = {f"a__{n}__k": {"line": "a" if n < 4 else "b", "kind": "k", "n": n} for n in range(1, 6)}
    store.put("nights", days)
    where = {"line": "a", "kind": "k"}
    found = store.find("nights", where, since="a__2", descending=descending)
    assert [one["n"] for one in found] == ([3, 2] if descending else [2, 3])
    assert len(store.find("nights", since="a__4__k", limit=1)) == 1
    assert store.find("nights", where, since="b") == []


def test_more_documents_than_one_commit_holds_all_arrive(store):
    assert store.put("parts", {f"p{n:04d}": {"n": n} for n in range(1201)}) == 1201
    assert store.count("parts") == 1201


@pytest.mark.emulator
def test_only_a_service_account_reads_what_is_stored(emulator, monkeypatch):
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", emulator)
    FirestoreStore("rules").put("nights", {"n1": {"pass": 1}})
    place = "projects/rules/databases/(default)/documents/loupe/v1/nights/n1"
    request = Request(f"http://{emulator}/v1/{place}")
    with pytest.raises(HTTPError) as refused:
        urlopen(request, timeout=30)
    assert refused.value.code == 403
    request.add_header("Authorization", "Bearer owner")  # the emulator's service account
    with urlopen(request, timeout=30) as answer:
        assert answer.status == 200


def test_deleting_takes_only_what_is_named(store):
    store.put("parts", {"a": {"n": 1}, "b": {"n": 2}})
    store.delete("parts", ["a", "never there"])
    assert [item["id"] for item in store.find("parts")] == ["b"]


def test_a_store_without_a_file_is_empty(tmp_path):
    store = SQLiteStore(tmp_path / "none.db")
    assert store.find("lines") == []
    assert store.get("lines", "a") is None
    assert not (tmp_path / "none.db").exists()


def _write(path, worker):
    store = SQLiteStore(path)
    for number in range(20):
        store.put("shards", {f"{worker}-{number}": {"n": number}})


def test_many_processes_write_at_once_and_nothing_is_lost(tmp_path):
    path = tmp_path / "results.db"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write, args=(path, worker)) for worker in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert SQLiteStore(path).count("shards") == 60


def _plans(path, ask, monkeypatch):
    """How SQLite finds the rows of each query that `ask` makes."""
    asked = []
    real = sqlite3.connect

    def connect(*args, **kwargs):
        connection = real(*args, **kwargs)
        connection.set_trace_callback(asked.append)
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", connect)
        ask(SQLiteStore(path))
    with closing(real(path)) as plain:
        queries = [one for one in asked if "FROM documents" in one]
        return [
            " ".join(row[3] for row in plain.execute(f"EXPLAIN QUERY PLAN {one}"))
            for one in queries
        ]


@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.find("parts", {"line": "a", "day": "2026-01-05"}),
        lambda store: store.find("parts", {"line": "a", "day": "2026-01-05", "verdict": "fail"}),
        lambda store: store.count("parts", {"line": "a", "day": "2026-01-05"}),
    ],
)
@pytest.mark.parametrize("is_old", [False, True])
def test_what_is_asked_of_a_day_of_a_line_is_found_by_the_index(tmp_path, monkeypatch, ask, is_old):
    path = tmp_path / "results.db"
    SQLiteStore(path).put("parts", {"p": {"line": "a", "day": "2026-01-05"}})
    if is_old:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("DROP INDEX documents_line_day")
    (plan,) = _plans(path, ask, monkeypatch)
    assert re.search(r"^SEARCH .* INDEX documents_line_day \(collection=\? AND .*<expr>=", plan)


def test_an_old_file_that_may_only_be_read_is_read_without_the_index(tmp_path, monkeypatch):
    path = tmp_path / "results.db"
    SQLiteStore(path).put("parts", {"p": {"line": "a", "day": "2026-01-05"}})
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP INDEX documents_line_day")
    real = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda path, **more: real(f"file:{path}?mode=ro", uri=True, **more)
    )
    store = SQLiteStore(path)
    assert store.count("parts", {"line": "a", "day": "2026-01-05"}) == 1


@pytest.mark.parametrize("closed", ["", "results.db"])
def test_a_file_that_may_not_be_written_is_no_fault_that_passes(tmp_path, monkeypatch, closed):
    path = tmp_path / "results.db"
    path.mkdir()  # as little to be opened as one in WAL mode on a disk that may only be read
    with pytest.raises(ResultsError, match="unable to open") as away:
        SQLiteStore(path).find("nights")
    monkeypatch.setattr(os, "access", lambda one, _: one != tmp_path / closed)
    with pytest.raises(ResultsUnusableError, match="let the user that Loupe runs as write there"):
        SQLiteStore(path).find("nights")
    assert away.value.temporary
