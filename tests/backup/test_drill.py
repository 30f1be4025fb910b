"""Backup, destroy, restore: the night after it gives the same bytes."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import tiny_line
from click.testing import CliRunner
from tiny_line import Tiny

from ml import files
from ml.audit import ledger
from ml.backup import Vault, backup, restore
from ml.bundle import load_bundle
from ml.bundle.keys import signing_key
from ml.cli.main import main
from ml.data import catalog, predicted
from ml.errors import BackupError, SettingsError
from ml.inference.batch import predict_shards
from ml.inference.night import plan_night
from ml.inference.publish import publish
from ml.inference.reconcile import reconcile
from ml.results import open_results

DAY = tiny_line.DAY
KEPT = ("catalog", "objects", "bundles", "ledger", "live", "nights", "datasets")


def _night(tiny: Tiny) -> dict[str, Any]:
    """Run a night; what it left."""
    store = open_results(tiny.env, tiny.home)
    plan = plan_night(tiny.home, tiny.line, DAY)
    predict_shards(tiny.home, plan, range(len(plan.sizes)), 16, 1)
    publish(tiny.home, store, "tiny", DAY)
    reconcile(tiny.home, store, "tiny", DAY)
    return {
        "rows": predicted.read(tiny.home, "tiny", day=DAY).to_pylist(),
        "documents": {name: store.find(name) for name in ("shards", "nights", "parts")},
        "ledger": tiny.home.ledger("tiny", DAY).read_bytes(),
        "plan": tiny.home.night("tiny", DAY).read_bytes(),
    }


def _tree(root: Path) -> dict[str, str]:
    paths = (path for name in KEPT for path in (root / name).rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): files.sha256(path) for path in paths}


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path / "backups")


def test_a_full_disk_may_be_tried_again(live: Tiny, vault: Vault) -> None:
    program = (
        "import resource, sys; from ml.cli.main import main; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); main(['backup', sys.argv[1]])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(vault.root)],
        env=os.environ | {"LOUPE_HOME": str(live.home.root)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 75, done.stderr
    assert "the disk is full" in done.stderr
    assert backup(live.home, vault).snapshot.name == "000001"


def test_a_night_after_the_drill_gives_the_same_bytes(
    live: Tiny, vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _night(live)
    tree = _tree(live.home.root)
    key = live.home.signing_key.read_bytes()
    secret = tmp_path / "secret"
    secret.write_text("a long passphrase\n")
    monkeypatch.setenv("LOUPE_HOME", str(live.home.root))

    def loupe(*words: str) -> dict[str, Any]:
        done = CliRunner().invoke(main, list(words))
        assert done.exit_code == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    made = loupe("backup", str(vault.root), "--passphrase-file", str(secret))
    assert made["tables"].keys() == {"tiny/images", "tiny/predictions"}
    assert (made["keys"], made["damaged"]) == ("encrypted", [])
    shutil.rmtree(live.home.root)
    assert loupe("restore", str(vault.root), "--check")["intact"] is True
    done = loupe("restore", str(vault.root), "--passphrase-file", str(secret))
    assert (done["written"], done["keys"]) == (made["files"] - 1, "restored")
    assert _tree(live.home.root) == tree
    assert live.home.signing_key.read_bytes() == key
    assert live.home.signing_key.stat().st_mode & 0o777 == 0o600
    assert _night(live) == before
    assert ledger.verify(live.home.ledger("tiny", DAY)) == len(before["documents"]["shards"])
    again = loupe("backup", str(vault.root), "--passphrase-file", str(secret))
    # A repeated night commits the same rows anew; nearly all else is in the vault already.
    assert again["new"] < made["new"] / 3


def test_a_backup_taken_while_a_shard_is_written_restores_a_whole_night(
    live: Tiny, vault: Vault, tmp_path: Path
) -> None:
    plan = plan_night(live.home, live.line, DAY)

    def write() -> None:
        for shard in range(len(plan.sizes)):
            predict_shards(live.home, plan, [shard], 16, 1)

    night = threading.Thread(target=write)
    night.start()
    snapshots = []
    while night.is_alive():
        snapshots.append(backup(live.home, vault).snapshot)
    night.join()
    assert len(snapshots) > 1
    for number, snapshot in enumerate([snapshots[0], snapshots[len(snapshots) // 2]]):
        other = type(live.home)(tmp_path / f"other{number}")
        restore(other, vault, snapshot.name)
        rows = predicted.read(other, "tiny", day=DAY).to_pylist()
        shards = {row["shard"] for row in rows}
        assert len(rows) == sum(plan.sizes[shard] for shard in shards)
        assert catalog.version(other, "tiny", "images") >= plan.images_version


def test_a_home_in_use_is_never_overwritten_unasked(live: Tiny, vault: Vault) -> None:
    backup(live.home, vault)
    extra = live.home.root / "nights" / "tiny" / "later.json"
    files.write_json(extra, {})
    tree = _tree(live.home.root)
    with pytest.raises(BackupError, match="has something in it"):
        restore(live.home, vault)
    assert _tree(live.home.root) == tree
    key = live.home.signing_key.read_bytes()
    restore(live.home, vault, replace=True)
    assert not extra.exists()
    assert live.home.signing_key.read_bytes() == key


def test_a_killed_restore_goes_on_and_no_step_runs_meanwhile(
    live: Tiny, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup(live.home, vault)
    tree = _tree(live.home.root)
    shutil.rmtree(live.home.root)
    written = 0
    real = shutil.copyfile

    def killed(*paths: Any) -> Any:
        nonlocal written
        written += 1
        if written == 20:
            raise KeyboardInterrupt
        return real(*paths)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", killed)
        with pytest.raises(KeyboardInterrupt):
            restore(live.home, vault)
    monkeypatch.setenv("LOUPE_HOME", str(live.home.root))
    step = CliRunner().invoke(main, ["shards", "--line", "demo", "--day", DAY])
    assert step.exit_code == 2
    assert "half restored" in step.stderr
    done = restore(live.home, vault)
    assert done.stood == 19
    assert _tree(live.home.root) == tree


def test_a_damaged_backup_is_refused_before_anything_is_written(live: Tiny, vault: Vault) -> None:
    made = backup(live.home, vault).snapshot
    blob = vault.blob(next(one.sha256 for one in made.copied if one.path.startswith("objects/")))
    blob.write_bytes(blob.read_bytes()[:-1])
    tree = _tree(live.home.root)
    with pytest.raises(BackupError, match=r"lost or altered:\n.*: objects/"):
        restore(live.home, vault, replace=True)
    assert _tree(live.home.root) == tree


def test_the_key_is_left_out_in_so_many_words_or_opens_with_its_passphrase_only(
    live: Tiny, vault: Vault, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    private = live.home.signing_key.read_bytes()
    assert backup(live.home, vault).snapshot.keys == "left out"
    assert "signing key is NOT in this backup" in caplog.text
    backup(live.home, vault, b"right")
    contents = [path.read_bytes() for path in vault.root.rglob("*") if path.is_file()]
    assert not any(private.splitlines()[1] in content for content in contents)
    other = type(live.home)(tmp_path / "other")
    with pytest.raises(SettingsError, match="cannot be read"):
        restore(other, vault, passphrase=b"wrong")
    assert not other.root.exists()
    with pytest.raises(BackupError, match=r"has no signing key \(left out\)"):
        restore(other, vault, "000001", passphrase=b"right")
    restore(other, vault, passphrase=b"right")
    assert signing_key(other).public_key() == signing_key(live.home).public_key()
    assert load_bundle(other, live.evaluate().name)


def test_a_damaged_object_is_named_and_the_rest_is_copied(live: Tiny, vault: Vault) -> None:
    path = next(path for path in (live.home.root / "objects").rglob("*") if path.is_file())
    path.write_bytes(b"rotten")
    done = backup(live.home, vault)
    assert done.damaged == [path.relative_to(live.home.root).as_posix()]


def test_a_backup_inside_the_home_is_refused(live: Tiny) -> None:
    with pytest.raises(BackupError, match="belongs elsewhere"):
        backup(live.home, Vault(live.home.root / "backups"))


def test_services_that_run_in_the_home_are_no_part_of_it(live: Tiny, vault: Vault) -> None:
    secret = live.home.root / "stack" / "airflow" / "s3.secret"
    files.write_bytes(secret, b"hidden")
    backup(live.home, vault)
    copied = [one.path for one in vault.read().copied]
    assert copied
    assert not [path for path in copied if path.startswith("stack")]
