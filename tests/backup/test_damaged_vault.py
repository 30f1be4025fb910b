"""A backup whose contents were damaged: what is said, mended, and gone on without."""

import hashlib
import json
import logging
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ml import files
from ml.backup import Vault, backup, restore
from ml.cli.main import main
from ml.errors import BackupError
from ml.settings import Home

IMAGE = b"an image"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    home = Home(tmp_path / "home")
    files.write_json(home.live("tiny"), {"line": "tiny"})
    files.write_bytes(_image(home), IMAGE)
    monkeypatch.setenv("LOUPE_HOME", str(home.root))
    return home


def _image(home: Home) -> Path:
    return home.object(hashlib.sha256(IMAGE).hexdigest())


def _flip(vault: Vault, prefix: str) -> str:
    """Damage the content of one file of the newest snapshot; returns its path."""
    one = next(one for one in vault.read().copied if one.path.startswith(prefix))
    content = bytearray(vault.blob(one.sha256).read_bytes())
    content[0] ^= 1
    vault.blob(one.sha256).write_bytes(content)
    return one.path


def _loupe(*words: str, status: int = 0) -> Any:
    done = CliRunner().invoke(main, list(words))
    assert done.exit_code == status, done.stderr
    return done.stderr if status else json.loads(done.stdout)


@pytest.mark.parametrize("prefix", ["objects/", "live/"])
def test_verify_mends_from_the_home_what_check_names(
    vault: Vault, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _flip(vault, prefix)
    said = _loupe("restore", str(vault.root), "--check", status=2)
    assert f": {path}\n" in said
    assert f"`loupe backup {vault.root} --verify`" in said
    assert ("--without-lost-images" in said) == (prefix == "objects/")
    _loupe("backup", str(vault.root))  # sizes alone do not tell
    assert "lost or altered" in _loupe("restore", str(vault.root), "--check", status=2)
    done = _loupe("backup", str(vault.root), "--verify")
    assert (done["mended"], done["lost"]) == (1, [])
    for number in vault.names():
        assert _loupe("restore", str(vault.root), "--check", "--snapshot", number)["intact"]
    monkeypatch.setenv("LOUPE_HOME", str(tmp_path / "new"))
    assert _loupe("restore", str(vault.root))["lost"] == []


def test_what_the_home_lacks_is_named_and_left_as_it_is(
    home: Home, vault: Vault, caplog: pytest.LogCaptureFixture
) -> None:
    path = _flip(vault, "objects/")
    left = vault.blob(_image(home).name).read_bytes()
    _image(home).unlink()
    done = backup(home, vault, verify=True)
    assert (done.mended, done.lost) == (0, [f"000001: {path}"])
    assert f"{path}: lost" in caplog.text
    assert vault.blob(_image(home).name).read_bytes() == left
    vault.check(done.snapshot)  # the new one is whole


def test_a_restore_goes_on_without_lost_images_only_when_it_is_told_to(
    home: Home, vault: Vault, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = _flip(vault, "objects/")
    other = Home(tmp_path / "other")
    with pytest.raises(BackupError, match="--without-lost-images"):
        restore(other, vault)
    assert list(other.root.iterdir()) == [other.lock]
    caplog.set_level(logging.ERROR)
    done = restore(other, vault, without_lost_images=True)
    assert done.lost == [path]
    assert path in caplog.text
    assert other.live("tiny").read_bytes() == home.live("tiny").read_bytes()
    assert not _image(other).exists()
    # What the home has is not lost, though the backup has it no more.
    assert restore(home, vault, replace=True, without_lost_images=True).lost == []
    assert _image(home).read_bytes() == IMAGE


def test_a_restore_never_goes_on_without_anything_but_images(vault: Vault, tmp_path: Path) -> None:
    _flip(vault, "objects/")
    path = _flip(vault, "live/")
    with pytest.raises(BackupError, match=path):
        restore(Home(tmp_path / "other"), vault, without_lost_images=True)


def test_a_home_on_a_disk_that_may_only_be_read_is_copied_with_its_newest_rows(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sqlite3.connect(tmp_path / "results.db")) as running:
        running.execute("PRAGMA journal_mode = WAL")
        running.execute("CREATE TABLE documents (id TEXT)")
        running.execute("INSERT INTO documents VALUES ('newest')")
        running.commit()
        for name in ("results.db", "results.db-wal"):
            shutil.copyfile(tmp_path / name, home.root / name)
    connect = sqlite3.connect

    def refused(path: Path) -> sqlite3.Connection:
        if path == home.results:
            msg = "unable to open database file"
            raise sqlite3.OperationalError(msg)
        return connect(path)

    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", refused)
        patch.setattr(os, "access", lambda *_: False)
        home.lock.touch()
        backup(home, Vault(tmp_path / "vault"))
    again = Home(tmp_path / "again")
    restore(again, Vault(tmp_path / "vault"))
    with closing(sqlite3.connect(again.results)) as restored:
        assert restored.execute("SELECT id FROM documents").fetchall() == [("newest",)]
