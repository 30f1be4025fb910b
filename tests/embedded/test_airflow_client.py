"""The client of Airflow's REST API outlives a database that is busy for a moment."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from ml.errors import StackError
from ml.services import airflow

BUSY = b'{"detail": {"reason": "Database error", "statement": "hidden"}}'


@pytest.fixture
def answers() -> Iterator[tuple[str, list[bytes]]]:
    """An address, and what it answers with 500 before it answers well."""
    failures: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PATCH(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = failures.pop(0) if failures else b"{}"
            self.send_response(500 if body != b"{}" else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", failures
    server.shutdown()
    server.server_close()


def test_a_busy_database_is_asked_again_and_other_errors_are_not(
    answers: tuple[str, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(airflow, "_SECONDS_BETWEEN_TRIES", 0)
    address, failures = answers
    failures += [BUSY, BUSY]
    airflow.Airflow(address).unpause("line__train")
    assert not failures
    failures += [b"no such thing", BUSY]
    with pytest.raises(StackError, match=r"500 to PATCH .*no such thing"):
        airflow.Airflow(address).unpause("line__train")
    assert failures == [BUSY]
    failures += [BUSY] * 9
    with pytest.raises(StackError, match="Database error"):
        airflow.Airflow(address).unpause("line__train")
    assert len(failures) == 5
