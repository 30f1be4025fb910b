"""What happens to a night at three in the morning: the machine fails under the real command.

After each fault the same night, run again, leaves the bytes of a night that nothing disturbed.
"""

import json
import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
import tiny_line
from tiny_line import Tiny

from ml.data import catalog, predicted
from ml.inference.batch import predict_shards
from ml.inference.night import plan_night
from ml.inference.publish import publish
from ml.inference.reconcile import reconcile
from ml.results import open_results
from ml.settings import Home

DAY = tiny_line.DAY
LINE = """
name = "tiny"
title = "Tiny"
source = { uri = "nowhere", layout = { kind = "masks" } }
backbone = { weights = "none" }
classifier = { size = [32, 32] }
segmenter = { size = [32, 32] }
anomaly = { size = [32, 32] }
night = { shard_images = 7, batch = 3 }
"""
# Limits are set once everything is imported, so that they meet the step.
CHILD = """
import resource, sys
import cv2, deltalake, onnxruntime, pyarrow.dataset, pyarrow.parquet
import ml.inference.batch, ml.inference.publish, ml.results.sqlite
from ml.cli.main import main
limit, amount, *steps = sys.argv[1:]
if limit == "memory":
    pages = int(open("/proc/self/statm").read().split()[0])
    top = pages * resource.getpagesize() + int(amount)
    resource.setrlimit(resource.RLIMIT_AS, (top, top))
if limit == "file":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(amount), int(amount)))
for step in steps:
    main([step, "--line", "tiny", "--day", "DAY"], standalone_mode=False)
""".replace("DAY", DAY)


class Night:
    """The night of the tiny line in a home of its own."""

    def __init__(self, tiny: Tiny, folder: Path) -> None:
        shutil.copytree(tiny.home.root, folder)
        self.home, self.line = Home(folder), tiny.line
        self.env = tiny_line.make_env(folder)
        self.store = open_results(self.env, self.home)
        lines = folder.parent / "lines"
        lines.mkdir(exist_ok=True)
        (lines / "tiny.toml").write_text(LINE)
        self._lines = lines

    def start(self, limit: str, amount: int, *steps: str) -> "subprocess.Popen[str]":
        """Steps of the real command in a process of their own."""
        environment = {
            **os.environ,
            "LOUPE_HOME": str(self.home.root),
            "LOUPE_LINES": str(self._lines),
            "LOUPE_THREADS": "1",
            # Each thread's own arena would count as memory that is in use.
            "MALLOC_ARENA_MAX": "1",
        }
        return subprocess.Popen(
            [sys.executable, "-c", CHILD, limit, str(amount), *steps],
            cwd=Path(__file__).parents[2],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def predict(self) -> None:
        plan = plan_night(self.home, self.line, DAY)
        predict_shards(self.home, plan, range(len(plan.sizes)), 3, 1)

    def finish(self) -> bytes:
        """Run the whole night; everything that it left."""
        self.predict()
        publish(self.home, self.store, "tiny", DAY)
        reconcile(self.home, self.store, "tiny", DAY)
        return self.content()

    def verdicts(self) -> list[str]:
        return predicted.read(self.home, "tiny", day=DAY)["verdict"].to_pylist()

    def content(self) -> bytes:
        rows = predicted.read(self.home, "tiny", day=DAY).to_pylist()
        documents = {name: self.store.find(name) for name in ("shards", "parts", "nights")}
        ledger = self.home.ledger("tiny", DAY).read_bytes()
        return json.dumps([rows, documents], sort_keys=True, default=str).encode() + ledger


@pytest.fixture
def night(live: Tiny, tmp_path: Path) -> Night:
    return Night(live, tmp_path / "disturbed")


@pytest.fixture
def undisturbed(live: Tiny, tmp_path: Path) -> bytes:
    return Night(live, tmp_path / "undisturbed").finish()


def _compare(found: bytes, undisturbed: bytes) -> None:
    digests = [sha256(one).hexdigest()[:16] for one in (found, undisturbed)]
    print(f"the night {digests[0]}, undisturbed {digests[1]}, {len(found)} bytes")
    assert found == undisturbed


def test_a_full_disk_is_said_and_the_night_goes_on_after_it(
    night: Night, undisturbed: bytes
) -> None:
    child = night.start("file", 4000, "shards", "predict")
    _, said = child.communicate(timeout=120)
    assert child.returncode == 75, said
    assert "the disk is full" in said
    assert "run the same command again" in said
    assert night.verdicts() == []
    _compare(night.finish(), undisturbed)


def test_a_full_disk_is_said_by_publish_too(night: Night, undisturbed: bytes) -> None:
    night.predict()
    child = night.start("file", 4000, "publish")
    _, said = child.communicate(timeout=120)
    assert child.returncode == 75, said
    assert f"{night.home.results}: " in said
    assert "free some space in LOUPE_HOME and run the same command again" in said
    _compare(night.finish(), undisturbed)


def test_memory_that_is_not_enough_is_said_and_no_part_is_held_for_it(
    live: Tiny, tmp_path: Path
) -> None:
    large = cv2.imencode(".png", np.full((9000, 9000, 3), 120, np.uint8))[1].tobytes()
    row = catalog.read_images(live.home, "tiny", day=DAY).to_pylist()[0]
    row |= {"object": "000-large.png", "sha256": tiny_line.store(live.home, large)}
    catalog.upsert_images(live.home, "tiny", pa.Table.from_pylist([row], catalog.IMAGES))
    undisturbed = Night(live, tmp_path / "undisturbed").finish()
    night = Night(live, tmp_path / "disturbed")
    child = night.start("memory", 220_000_000, "shards", "predict")
    _, said = child.communicate(timeout=120)
    assert child.returncode == 75, said
    assert "not enough memory" in said
    assert night.verdicts() == []
    _compare(night.finish(), undisturbed)


def test_two_runs_of_one_night_at_once_leave_one_night(night: Night, undisturbed: bytes) -> None:
    children = [night.start("none", 0, "shards", "predict", "publish") for _ in range(2)]
    for child in children:
        _, said = child.communicate(timeout=120)
        assert child.returncode == 0, said
    reconcile(night.home, night.store, "tiny", DAY)
    _compare(night.content(), undisturbed)


@pytest.mark.parametrize("name", ["anomaly.onnx", "MANIFEST"])
def test_a_bundle_half_written_passes_nothing_until_it_is_whole(night: Night, name: str) -> None:
    path = night.home.bundle(plan_night(night.home, night.line, DAY).bundle) / name
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    night.predict()
    assert set(night.verdicts()) == {"review"}
    path.write_bytes(whole)
    night.predict()
    assert night.verdicts().count("pass") >= 35
