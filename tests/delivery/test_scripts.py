"""The scripts of ci/ run as a CI would run them, on a scratch repository.

Docker and the scanners are recorded by a stand-in on PATH: what is tested is what they are asked.
"""

import os
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOKEN = "t0ken-of-the-tests"

# Writes down its arguments and, for a login, what came through stdin.
_RECORDER = """#!/bin/sh
echo "$(basename "$0") $*" >>"$RECORD"
case "$*" in
  *--password-stdin*) echo "stdin $(cat)" >>"$RECORD" ;;
  *"pip freeze"*) echo flask==1 ;;
esac
exit ${RECORDER_STATUS:-0}
"""


@pytest.fixture
def repository(tmp_path):
    """A commit of the ci/ folder, and a PATH on which docker and trivy only record."""
    folder = tmp_path / "repository"
    shutil.copytree(ROOT / "ci", folder / "ci")
    (folder / ".gitignore").write_text("build/\n")
    environ = {
        "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "RECORD": str(tmp_path / "record"),
    }
    (tmp_path / "bin").mkdir()
    for name in ("docker", "trivy"):
        _record_calls(tmp_path / "bin" / name)
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        _git(folder, *words)
    return folder, environ


def _record_calls(path: Path) -> None:
    path.write_text(_RECORDER)
    path.chmod(0o755)


def _git(folder: Path, *words: str) -> str:
    author = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    done = subprocess.run(
        ["git", *author, *words], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def run(repository, script, **environ):
    folder, base = repository
    return subprocess.run(
        [folder / "ci" / script], env=base | environ, capture_output=True, text=True, check=False
    )


def record(repository) -> list[str]:
    path = Path(repository[1]["RECORD"])
    return path.read_text().splitlines() if path.exists() else []


def images(repository) -> list[str]:
    return (repository[0] / "build" / "images.txt").read_text().split()


LOGIN = {"DOCKERHUB_USER": "plant", "DOCKERHUB_TOKEN": TOKEN}


def test_an_image_is_named_by_its_commit(repository):
    assert run(repository, "build_image.sh").returncode == 0
    commit = _git(repository[0], "rev-parse", "--short=12", "HEAD")
    assert images(repository) == [f"loupe/serving:{commit}"]
    assert f"--tag loupe/serving:{commit}" in record(repository)[0]


def test_a_release_is_also_named_by_its_version(repository):
    _git(repository[0], "tag", "v1.2.3")
    run(repository, "build_image.sh")
    assert images(repository)[1:] == ["loupe/serving:1.2.3"]


def test_a_tag_that_is_no_version_stops_the_build(repository):
    _git(repository[0], "tag", "v1.2")
    done = run(repository, "build_image.sh")
    assert done.returncode == 1
    assert "v1.2 is not a semantic version" in done.stderr
    assert record(repository) == []


def test_publishing_pushes_what_was_built_and_never_latest(repository):
    _git(repository[0], "tag", "v1.2.3")
    run(repository, "build_image.sh")
    done = run(repository, "publish.sh", **LOGIN)
    assert done.returncode == 0, done.stderr
    pushed = [line.split()[-1] for line in record(repository) if line.startswith("docker push")]
    assert pushed == images(repository)
    assert not any("latest" in line for line in record(repository))


def test_the_token_goes_through_stdin_and_stands_in_no_output(repository):
    run(repository, "build_image.sh")
    done = run(repository, "publish.sh", **LOGIN)
    lines = record(repository)
    assert f"stdin {TOKEN}" in lines
    assert not any(TOKEN in line for line in lines if line.startswith("docker"))
    assert TOKEN not in done.stdout + done.stderr


def test_uncommitted_changes_are_not_published(repository):
    (repository[0] / "surprise").write_text("x")
    run(repository, "build_image.sh")
    done = run(repository, "publish.sh", **LOGIN)
    assert done.returncode == 1
    assert "uncommitted" in done.stderr
    assert not any("push" in line for line in record(repository))


@pytest.mark.parametrize(
    ("script", "given", "named"),
    [
        ("publish.sh", {}, "DOCKERHUB_USER"),
        ("publish.sh", {"DOCKERHUB_USER": "plant"}, "DOCKERHUB_TOKEN"),
        ("publish.sh", LOGIN, "build/images.txt"),
        ("deploy.sh", {}, "PYTHONANYWHERE_USER"),
        ("deploy.sh", {"PYTHONANYWHERE_USER": "plant"}, "PYTHONANYWHERE_TOKEN"),
    ],
)
def test_a_script_refuses_at_once_and_names_what_it_lacks(repository, script, given, named):
    done = run(repository, script, **given)
    assert done.returncode != 0
    assert named in done.stderr
    assert record(repository) == []


def test_trivy_scans_the_image_of_the_commit(repository):
    run(repository, "build_image.sh")
    assert run(repository, "scan.sh").returncode == 0
    assert record(repository)[-1].startswith("trivy image --exit-code 1")
    assert record(repository)[-1].endswith(images(repository)[0])


def test_a_finding_stops_the_build(repository):
    run(repository, "build_image.sh")
    assert run(repository, "scan.sh", RECORDER_STATUS="1").returncode == 1


def test_without_trivy_the_packages_are_audited_and_the_gap_is_said(repository, tmp_path):
    run(repository, "build_image.sh")
    (tmp_path / "bin" / "trivy").rename(tmp_path / "bin" / "pip-audit")
    done = run(repository, "scan.sh")
    assert done.returncode == 0
    assert "the system's are NOT" in done.stderr
    assert record(repository)[-1].startswith("pip-audit")


def test_without_any_scanner_nothing_is_called_scanned(repository, tmp_path):
    run(repository, "build_image.sh")
    (tmp_path / "bin" / "trivy").unlink()
    done = run(repository, "scan.sh")
    assert done.returncode == 1
    assert "was NOT scanned" in done.stderr


@pytest.fixture
def host():
    """A web host: its API takes one token, its site answers /readyz with a settable status."""
    calls = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            calls.append((self.path, self.headers["Authorization"]))
            self._answer(200 if self.headers["Authorization"] == f"Token {TOKEN}" else 401)

        def do_GET(self):
            self._answer(server.ready)

        def _answer(self, status):
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.calls, server.ready = calls, 200
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def deploy(repository, host, token=TOKEN):
    address = f"http://127.0.0.1:{host.server_port}"
    return run(
        repository,
        "deploy.sh",
        PYTHONANYWHERE_USER="plant",
        PYTHONANYWHERE_TOKEN=token,
        PYTHONANYWHERE_DOMAIN="plant.example.org",
        PYTHONANYWHERE_API=f"{address}/api",
        PYTHONANYWHERE_SITE=address,
        DEPLOY_ATTEMPTS="2",
        DEPLOY_PAUSE_S="0",
    )


def test_a_deploy_reloads_the_site_and_waits_until_it_is_ready(repository, host):
    done = deploy(repository, host)
    assert done.returncode == 0, done.stderr
    assert host.calls == [("/api/webapps/plant.example.org/reload/", f"Token {TOKEN}")]
    assert "is ready" in done.stdout


def test_a_wrong_token_fails_the_deploy(repository, host):
    done = deploy(repository, host, token="wrong")
    assert done.returncode != 0
    assert "401" in done.stderr


def test_a_site_that_does_not_come_up_fails_the_deploy(repository, host):
    host.ready = 503
    done = deploy(repository, host)
    assert done.returncode == 1
    assert "/readyz does not answer 200" in done.stderr


@pytest.mark.skipif(
    shutil.which("shellcheck") is None, reason="shellcheck is not installed: scripts NOT checked"
)
def test_shellcheck_finds_nothing():
    scripts = [*ROOT.glob("ci/*.sh"), *ROOT.glob("deploy/*.sh")]
    done = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", sorted((ROOT / "ci").glob("*.sh")), ids=lambda path: path.name)
def test_a_script_can_be_run_and_stops_at_the_first_error(path):
    assert os.access(path, os.X_OK)
    assert "set -euo pipefail" in path.read_text()
