"""`loupe doctor` refuses an MLflow with known holes and warns of one that is open to others."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner

from ml.cli import doctor as doctor_module
from ml.services.mlflow import SAFE, holes, reached_by


@pytest.mark.parametrize(
    ("version", "named"),
    [
        ("2.2.0", "CVE-2023-1177"),
        ("2.9.1", "CVE-2023-6831"),
        ("2.22.4", "CVE-2026-2033"),
        ("3.8.1", "CVE-2026-2614"),
        (SAFE, None),
        ("3.17.2", None),
    ],
)
def test_a_version_with_a_known_path_traversal_is_named(version, named):
    found = holes(version)
    assert (named in found) if named else found == []


def test_doctor_fails_on_such_a_version(monkeypatch):
    monkeypatch.setattr(doctor_module.importlib.metadata, "version", lambda name: "3.9.0")
    done = CliRunner().invoke(doctor_module.doctor)
    assert done.exit_code == 1
    assert "CVE-2026-2614" in done.output


@pytest.fixture
def server():
    """An HTTP server at an address and with a status that the test sets."""
    started = []

    def start(host, status):
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                return

        server = ThreadingHTTPServer((host, 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        started.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in started:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("host", "status", "is_open"),
    [("127.0.0.1", 200, False), ("0.0.0.0", 200, True), ("0.0.0.0", 401, False)],
)
def test_an_mlflow_beyond_loopback_without_a_password_is_warned_of(server, host, status, is_open):
    address = server(host, status)
    assert bool(reached_by(address)) is is_open


def test_a_database_and_a_server_that_does_not_run_are_open_to_nobody():
    assert reached_by("sqlite:///mlflow.db") == ""
    assert reached_by("http://mlflow.invalid:5000") == ""
