"""A home of the version before is upgraded once; one of a newer version is left alone."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from ml import files
from ml.data import catalog, predicted, upgrade
from ml.data.upgrade import ensure_current
from ml.errors import DataError
from ml.settings import Home

NEW = ("p_classifier", "p_segmenter", "p_anomaly", "regions")


@pytest.fixture
def old(tmp_path: Path) -> Home:
    """A home whose predictions are as the version before wrote them: without four columns."""
    home = Home(tmp_path)
    schema = pa.schema([field for field in predicted.SCHEMA if field.name not in NEW])
    row = dict.fromkeys(schema.names) | {
        "day": "2026-01-05",
        "shard": 0,
        "object": "a.png",
        "verdict": "pass",
        "captured_at": datetime(2026, 1, 5, tzinfo=UTC),
    }
    for line in ("one", "two"):
        table = pa.Table.from_pylist([row], schema=schema)
        write_deltalake(str(home.table(line, "predictions")), table, partition_by=["day"])
    return home


def _columns(home: Home, line: str) -> set[str]:
    table = DeltaTable(str(home.table(line, "predictions")))
    return {field.name for field in table.schema().fields}


def test_an_old_home_is_upgraded_once_and_keeps_its_rows(old: Home) -> None:
    ensure_current(old)
    for line in ("one", "two"):
        assert _columns(old, line) == set(predicted.SCHEMA.names)
        (row,) = predicted.read(old, line).to_pylist()
        assert (row["object"], row["verdict"], row["p_anomaly"]) == ("a.png", "pass", None)
    assert files.read_json(old.schema) == {"schema": upgrade.SCHEMA}
    versions = [catalog.version(old, line, "predictions") for line in ("one", "two")]
    ensure_current(old)
    assert [catalog.version(old, line, "predictions") for line in ("one", "two")] == versions


_UPGRADE = "import sys; from ml.settings import Home; from pathlib import Path\n"
_UPGRADE += "from ml.data.upgrade import ensure_current; ensure_current(Home(Path(sys.argv[1])))"


def test_processes_that_upgrade_at_once_and_one_that_is_killed_leave_one_upgrade(
    old: Home, project: Path
) -> None:
    command = [sys.executable, "-c", _UPGRADE, str(old.root)]
    environ = {**os.environ, "PYTHONPATH": str(project)}
    killed = subprocess.Popen(command, env=environ)
    log = old.table("one", "predictions") / "_delta_log"
    while killed.poll() is None and len(list(log.glob("*.json"))) < 2:
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    both = [subprocess.Popen(command, env=environ) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    for line in ("one", "two"):
        assert _columns(old, line) == set(predicted.SCHEMA.names)
        assert catalog.version(old, line, "predictions") == 1
    assert json.loads(old.schema.read_text()) == {"schema": upgrade.SCHEMA}


def test_a_home_of_a_newer_version_is_refused(old: Home) -> None:
    files.write_json(old.schema, {"schema": upgrade.SCHEMA + 1})
    with pytest.raises(DataError, match="a newer Loupe wrote this catalog"):
        ensure_current(old)
    old.schema.write_text("{}")
    with pytest.raises(DataError, match="not a schema version"):
        ensure_current(old)
    assert catalog.version(old, "one", "predictions") == 0


def test_a_home_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    ensure_current(Home(tmp_path / "none"))
    assert not (tmp_path / "none").exists()
