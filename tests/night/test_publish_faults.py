"""Publishing to Firestore when it is busy, gone, or loses what it was told."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
import tiny_line
from firestore_server import FirestoreServer
from google.auth.exceptions import RefreshError, TransportError
from tiny_line import Tiny

from ml.errors import CountError, ResultsError
from ml.inference.batch import predict_shards
from ml.inference.night import plan_night
from ml.inference.publish import publish
from ml.inference.reconcile import reconcile
from ml.results import firestore
from ml.results.firestore import FirestoreStore
from ml.results.pace import WRITES_PER_SECOND, Pace

DAY = tiny_line.DAY
_PASSING = [
    ["unavailable", "unavailable"],
    ["exhausted", "", "exhausted"],
    ["aborted"],
    ["", "lost", "lost"],
    ["half", "", "half"],
    ["unavailable", "exhausted", "aborted", "half", "lost"],
]


@pytest.fixture
def server() -> Iterator[FirestoreServer]:
    server = FirestoreServer()
    yield server
    server.stop()


@pytest.fixture
def store(server: FirestoreServer, monkeypatch: pytest.MonkeyPatch) -> FirestoreStore:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", server.address)
    monkeypatch.setattr(firestore, "_FIRST_WAIT_S", 0.01)
    # Small batches, so that a night of the tiny line has several.
    monkeypatch.setattr(firestore, "_BATCH_WRITES", 5)
    return FirestoreStore("faults")


@pytest.fixture
def inspected(live: Tiny) -> Tiny:
    plan = plan_night(live.home, live.line, DAY)
    predict_shards(live.home, plan, range(len(plan.sizes)), 16, 2)
    return live


def _undisturbed(tiny: Tiny, server: FirestoreServer, store: FirestoreStore) -> bytes:
    """What the server holds after a publish without faults; empty again afterwards."""
    publish(tiny.home, store, "tiny", DAY)
    content = server.content()
    server.documents.clear()
    server.commits.clear()
    return content


def _compare(found: bytes, undisturbed: bytes) -> None:
    digests = [sha256(one).hexdigest()[:16] for one in (found, undisturbed)]
    print(f"documents {digests[0]}, of the undisturbed run {digests[1]}, {len(found)} bytes")
    assert found == undisturbed


def test_faults_that_pass_leave_the_same_documents(
    inspected: Tiny, server: FirestoreServer, store: FirestoreStore
) -> None:
    undisturbed = _undisturbed(inspected, server, store)
    for faults in _PASSING:
        server.documents.clear()
        server.faults.extend(faults)
        publish(inspected.home, store, "tiny", DAY)
        assert not server.faults
        _compare(server.content(), undisturbed)
    assert max(server.commits) <= 5
    assert reconcile(inspected.home, store, "tiny", DAY).documents == tiny_line.DAY_IMAGES


@pytest.mark.parametrize("fault", ["denied", "short"])
def test_a_publish_that_was_cut_off_goes_on_where_it_stopped(
    inspected: Tiny, server: FirestoreServer, store: FirestoreStore, fault: str
) -> None:
    undisturbed = _undisturbed(inspected, server, store)
    server.faults.extend(["", "", "", fault])
    with pytest.raises(ResultsError):
        publish(inspected.home, store, "tiny", DAY)
    with pytest.raises(CountError, match="run: loupe publish --line tiny --day 2026-01-05"):
        reconcile(inspected.home, store, "tiny", DAY)
    stood = len(server.documents)
    assert stood >= 14
    done = publish(inspected.home, store, "tiny", DAY)
    # The night's own document is always written: it says that the others stand.
    assert done.written == done.documents - stood
    _compare(server.content(), undisturbed)
    assert publish(inspected.home, store, "tiny", DAY).written == 1


def test_a_store_that_stays_away_is_said_to_be_temporary(
    inspected: Tiny,
    server: FirestoreServer,
    store: FirestoreStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(firestore, "_TRY_S", 0.2)
    server.faults.extend(["unavailable"] * 1000)
    with pytest.raises(ResultsError, match="Firestore project faults") as caught:
        publish(inspected.home, store, "tiny", DAY)
    assert caught.value.temporary
    assert server.documents == {}


def test_missing_credentials_are_no_fault_that_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FIRESTORE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nowhere.json"))
    with pytest.raises(ResultsError, match=r"Firestore project faults: .*nowhere\.json") as caught:
        FirestoreStore("faults")
    assert not caught.value.temporary


@pytest.mark.parametrize(
    ("error", "temporary"),
    [
        (TransportError("no answer"), True),
        (RefreshError("try later", retryable=True), True),
        (RefreshError("invalid_grant"), False),
    ],
)
def test_a_token_that_is_not_renewed_may_be_tried_again_where_google_says_so(
    store: FirestoreStore, error: Exception, temporary: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("google.cloud.firestore_v1.query.Query.stream", refuse)
    with pytest.raises(ResultsError, match="Firestore project faults") as caught:
        store.find("nights")
    assert caught.value.temporary is temporary


def test_documents_that_vanish_after_their_answer_are_noticed(
    inspected: Tiny,
    server: FirestoreServer,
    store: FirestoreStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest = FirestoreStore.put

    def forgetful(self: FirestoreStore, collection: str, documents: dict[str, object]) -> int:
        done = honest(self, collection, documents)
        if collection == "parts":
            server.documents.pop(max(name for name in server.documents if "/parts/" in name))
        return done

    monkeypatch.setattr(FirestoreStore, "put", forgetful)
    with pytest.raises(ResultsError, match=r"documents of tiny, 2026-01-05; expected \d+"):
        publish(inspected.home, store, "tiny", DAY)


def test_writes_keep_the_pace_and_save_nothing_up() -> None:
    now = 100.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    pace = Pace(lambda: now, sleep)
    for _ in range(21):
        pace.wait(500)
    assert now == pytest.approx(100 + 20 * 500 / WRITES_PER_SECOND)
    now += 3600
    before = now
    pace.wait(500)
    pace.wait(500)
    assert now == pytest.approx(before + 500 / WRITES_PER_SECOND)


def test_no_commit_has_more_bytes_than_firestore_takes(
    server: FirestoreServer, store: FirestoreStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firestore, "_BATCH_WRITES", 500)
    outline = {"regions": [{"polygon": [1234] * 128}] * 100}
    assert store.put("parts", {f"p{number}": outline for number in range(100)}) == 100
    assert max(server.commits) < 40
    assert store.count("parts") == sum(server.commits) == 100
    store.delete("parts", (f"p{number}" for number in range(100)))
    assert server.commits[-1] == 100
