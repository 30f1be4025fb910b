"""The exit status says whether to try again: 2 is bad input, 75 may pass by itself."""

import errno
import os
import signal
import socket
import sqlite3
import subprocess
import sys

import pytest
from click.testing import CliRunner

from ml.cli.main import main
from ml.cli.step import clear_errors
from ml.errors import StackError
from ml.results import sqlite


@pytest.fixture
def loupe(tmp_path, monkeypatch):
    """Run a step of the demo line in a home of the test; gives its exit status and last words."""
    monkeypatch.setenv("LOUPE_HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")

    def run(step, *options):
        done = CliRunner().invoke(main, [step, "--line", "demo", *options])
        return done.exit_code, done.stderr

    return run


def test_a_folder_that_is_not_there_is_bad_input(loupe):
    status, said = loupe("ingest", "--source", "/nowhere")
    assert status == 2
    assert "does not exist" in said


def test_a_bucket_that_does_not_answer_may_be_tried_again(loupe, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    status, said = loupe("ingest", "--source", "s3://plant")
    assert status == 75
    assert "s3://plant: cannot be listed" in said


def test_a_locked_results_store_may_be_tried_again(loupe, tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite, "_BUSY_SECONDS", 0.1)
    with sqlite3.connect(tmp_path / "results.db") as other:
        other.execute("CREATE TABLE documents (collection TEXT, id TEXT, body TEXT)")
        other.execute("BEGIN EXCLUSIVE")
        status, said = loupe("review")
    assert status == 75
    assert "database is locked" in said


@pytest.mark.parametrize("damage", ["header", "middle"])
def test_a_damaged_results_store_is_not_tried_again(loupe, tmp_path, damage):
    path = tmp_path / "results.db"
    store = sqlite.SQLiteStore(path)
    store.put("reviews", {str(n): {"line": "demo", "comment": "x" * 500} for n in range(100)})
    whole = path.read_bytes()
    if damage == "header":
        path.write_bytes(b"no database" * 1000)
    else:
        path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    status, said = loupe("review")
    assert status == 2
    assert str(path) in said
    assert "keep it and what lies beside it" in said
    path.rename(tmp_path / "kept")
    store.put("nights", {"n": {"line": "demo"}})  # as publish does
    assert store.count("nights") == 1


def test_an_empty_results_store_is_one_that_nothing_was_written_to(loupe, tmp_path):
    (tmp_path / "results.db").touch()
    assert loupe("review")[0] == 0


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_home_that_may_not_be_written_is_named_and_not_tried_again(tmp_path, capsys, number):
    told = OSError(number, os.strerror(number), str(tmp_path))
    delta = OSError(f"Generic error: {tmp_path}: {os.strerror(number)} (os error {number})")
    for error in (told, delta):
        with pytest.raises(SystemExit) as ended, clear_errors():
            raise error
        assert ended.value.code == 2
        said = capsys.readouterr().err
        assert said.startswith("loupe: not permitted: ")
        assert str(tmp_path) in said
        assert "the user that Loupe runs as" in said


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
def test_a_storage_that_does_not_answer_is_tried_again(tmp_path, capsys, number):
    with pytest.raises(SystemExit) as ended, clear_errors():
        raise OSError(number, os.strerror(number), str(tmp_path))
    assert ended.value.code == 75
    assert str(tmp_path) in capsys.readouterr().err


def test_a_step_in_a_home_that_may_not_be_written_says_so(loupe, monkeypatch):
    monkeypatch.setenv("LOUPE_HOME", "/sys/kernel/home")  # nobody may, root neither
    status, said = loupe("shards", "--day", "2026-01-05")
    assert status == 2
    assert "/sys/kernel/home" in said
    assert "let the user that Loupe runs as read and write there" in said


def test_an_mlflow_that_is_down_may_be_tried_again(capsys):
    with pytest.raises(SystemExit) as ended, clear_errors():
        raise StackError("MLflow does not answer")
    assert ended.value.code == 75
    assert capsys.readouterr().err == "loupe: MLflow does not answer\n"


@pytest.mark.parametrize(("command", "status"), [("--help", 0), ("nonsense", 2)])
def test_the_process_ends_with_its_status_after_its_exit_handlers(
    command: str, status: int
) -> None:
    program = (
        "import atexit, sys; from ml.cli.main import run; "
        f"atexit.register(print, 'the end'); sys.argv = ['loupe', {command!r}]; run()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == status
    assert done.stdout.endswith("the end\n")


def test_an_interrupted_step_ends_with_130_and_a_word(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        keys = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "test")
        env = os.environ | keys | {"AWS_DEFAULT_REGION": "us-east-1", "LOUPE_HOME": str(tmp_path)}
        env["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{silent.getsockname()[1]}"
        # A job in the background of a shell ignores SIGINT, and so would its children.
        program = (
            "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
            "sys.argv[1:] = ['ingest', '--line', 'demo', '--source', 's3://plant']; "
            "from ml.cli.main import run; run()"
        )
        step = subprocess.Popen(
            [sys.executable, "-c", program], env=env, stderr=subprocess.PIPE, text=True
        )
        silent.settimeout(60)
        silent.accept()  # the step is at work now, and waits for an answer
        step.send_signal(signal.SIGINT)
        said = step.communicate(timeout=60)[1]
    assert step.returncode == 130
    assert said == "loupe: interrupted; run the same command again\n"


@pytest.mark.parametrize("step", ["promote", "reject"])
def test_a_user_without_a_name_is_asked_for_one(step, monkeypatch):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 54321)  # as a container may run under
    done = CliRunner().invoke(main, [step, "--line", "demo", "--bundle", "b"])
    assert done.exit_code == 2
    assert "give your name with --by" in done.stderr
