"""A restore keeps to its home, and keeps out while anybody works in it."""

import errno
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ml import files
from ml.backup import Vault, restore
from ml.backup.contents import files_of
from ml.cli.main import main
from ml.errors import BackupError
from ml.settings import Home
from ml.settings.occupied import alone, at_work

# Holds a lock of the home until its input ends, as a step that works does.
HOLD = """
import sys
from pathlib import Path
from ml import files
from ml.settings import Home
from ml.settings.occupied import at_work
home = Home(Path(sys.argv[1]))
with at_work(home) if sys.argv[2] == "step" else files.locked(home.root / "catalog" / "tiny"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    files.write_json(home.live("tiny"), {"line": "tiny"})
    files.write_bytes(home.object("ab" * 32), b"x")
    return home


def _hold(home: Home, what: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", HOLD, str(home.root), what]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    child = subprocess.Popen(command, cwd=Path(__file__).parents[2], **pipes)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child


def _tree(home: Home) -> dict[str, bytes]:
    paths = (path for path in home.root.rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in paths}


@pytest.mark.parametrize("path", ["../outside.txt", "/absolute/outside.txt", "live/../..", "."])
def test_a_snapshot_whose_path_leaves_the_home_is_refused_by_name(
    vault: Vault, tmp_path: Path, path: str
) -> None:
    path = path.replace("/absolute", str(tmp_path))
    listed = vault.root / "snapshots" / "000001.json"
    content = json.loads(listed.read_text())
    content["copied"][0]["path"] = path
    listed.write_text(json.dumps(content))
    before = sorted(tmp_path.iterdir())
    new = Home(tmp_path / "new")
    with pytest.raises(BackupError, match="outside") as refused:
        restore(new, vault)
    assert repr(path) in str(refused.value)
    assert sorted(tmp_path.iterdir()) == sorted([*before, new.root])
    assert _tree(new) == {str(new.lock): b""}


def test_a_link_out_of_the_home_is_neither_followed_nor_removed(
    home: Home, vault: Vault, tmp_path: Path
) -> None:
    disk = tmp_path / "disk" / "objects"
    disk.parent.mkdir()
    (home.root / "objects").rename(disk)
    (home.root / "objects").symlink_to(disk)
    home.object("ab" * 32).write_bytes(b"another")
    with pytest.raises(BackupError, match=r"'objects/.*Where a link of the home leads there"):
        restore(home, vault, replace=True)
    assert (home.root / "objects").is_symlink()
    assert home.object("ab" * 32).read_bytes() == b"another"


def test_a_restore_never_takes_away_the_lock_that_a_process_holds(home: Home, vault: Vault) -> None:
    trial = home.search("tiny", "s") / "trial-0001.lock"
    files.write_bytes(trial, b"")
    with _hold(home, "table") as child:
        restore(home, vault, replace=True)
        assert trial.exists()
        handle = os.open(home.root / "catalog" / "tiny" / ".lock", os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(handle)
        child.communicate()


def test_no_restore_goes_through_under_a_step_and_one_does_after_it(
    home: Home, vault: Vault
) -> None:
    files.write_json(home.night("tiny", "2026-01-05"), {})
    with _hold(home, "step") as child:
        before = _tree(home)
        with pytest.raises(BackupError, match="a step, a backup or another restore is at work"):
            restore(home, vault, replace=True)
        assert _tree(home) == before
        child.kill()
        child.communicate()
    restore(home, vault, replace=True)
    assert not home.night("tiny", "2026-01-05").exists()


def test_steps_of_the_command_line_share_the_home_and_none_runs_under_a_restore(
    home: Home, vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step() -> Any:
        words = ["demo-images", "--line", "demo", "--into", str(tmp_path / "images")]
        return CliRunner().invoke(main, words)

    monkeypatch.setenv("LOUPE_HOME", str(home.root))
    monkeypatch.setattr("ml.data.synthetic.write_demo_images", lambda *_: refused(home, vault))

    def refused(home: Home, vault: Vault) -> tuple[int, int]:
        with pytest.raises(BackupError, match="at work"):
            restore(home, vault, replace=True)
        return 1, 0

    with at_work(home):
        done = step()
    assert done.exit_code == 0, done.stderr
    handle = os.open(home.lock, os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX)
    done = [step(), CliRunner().invoke(main, ["key", "rotate"])]
    os.close(handle)
    assert [one.exit_code for one in done] == [2, 2]
    assert all("is being restored at this moment" in one.stderr for one in done)


def test_a_file_system_without_locks_is_said_by_step_and_restore(
    home: Home, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setenv("LOUPE_HOME", str(home.root))
    monkeypatch.setattr(fcntl, "flock", no_locks)
    step = ["ingest", "--line", "demo"]
    for words in (step, ["restore", str(vault.root), "--replace"]):
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 2
        assert f"{home.lock}: cannot be locked" in done.stderr


def test_a_home_that_may_only_be_read_is_read_without_a_lock(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with at_work(home):
        assert not home.lock.exists()
    home.lock.touch()
    with at_work(home), pytest.raises(BackupError, match="at work"), alone(home):
        pass


def test_the_ledger_of_drops_is_copied_after_the_catalog_that_shows_them(home: Home) -> None:
    for name in ("2026-01-05", "quarantine"):
        files.write_bytes(home.ledger("tiny", name), b"{}\n")
    files.write_bytes(home.root / "catalog/tiny/images/_delta_log" / f"{0:020d}.json", b"{}")
    found = [path.relative_to(home.root).as_posix() for path in files_of(home.root, {})]
    assert found.index("ledger/tiny/2026-01-05.jsonl") < found.index(
        f"catalog/tiny/images/_delta_log/{0:020d}.json"
    )
    assert found[-1] == "ledger/tiny/quarantine.jsonl"
    assert len(found) == len(set(found))
