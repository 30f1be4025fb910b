"""A search ends where it should, whoever works on it and whatever was killed before."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ml.data.dataset import load_dataset
from ml.errors import DataError, LeakError
from ml.evaluation.scores import TestScores, ValidationScores
from ml.search import search as room
from ml.search.objective import best_f2, cost, value
from ml.search.search import Found, search
from ml.search.space import to_toml
from ml.settings import Env, Home, LineConfig, load_line
from ml.settings.line import CostsConfig
from ml.training import loop
from tests.training.conftest import MakeDataset

LINE = """
name = "tiny"
title = "Tiny plates"
models = ["classifier"]
source = { uri = "unused", layout = { kind = "masks" } }
backbone = { name = "test_resnet", weights = "none" }
classifier = { size = [40, 40], epochs = 2, batch = 4 }
"""


class Killed(BaseException):
    """Stands for a kill: nothing in the code catches it."""


def run(env: Env, home: Home, line: LineConfig, trials: int) -> Found:
    return search(env, home, line, "d1", "classifier", trials, "f2")


def test_a_killed_search_ends_as_an_undisturbed_one(
    env: Env,
    home: Home,
    line: LineConfig,
    make_dataset: MakeDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_dataset()
    epochs = 0
    write = loop._State.save

    def mortal(self: loop._State, *arguments: object) -> None:
        nonlocal epochs
        write(self, *arguments)  # type: ignore[arg-type]
        epochs += 1
        if epochs == 5:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(loop._State, "save", mortal)
        with pytest.raises(Killed):
            run(env, home, line, 3)
    (folder,) = (home.root / "searches" / "tiny").iterdir()
    assert [path.name for path in folder.glob("*.safetensors")] == ["trial-0001.safetensors"]
    found = run(env, home, line, 3)
    assert sum(found.trials.values()) == 3
    assert found.own_value is not None
    assert found.value <= found.own_value
    assert not list(folder.glob("*.safetensors"))
    monkeypatch.setattr(room, "fit_classifier", None)  # nothing is trained any more
    assert run(env, home, line, 3) == found
    monkeypatch.undo()

    other = Home(tmp_path / "undisturbed")
    other.root.mkdir()
    for name in ("objects", "datasets"):
        (other.root / name).symlink_to(home.root / name)
    assert run(env, other, line, 3) == found


def test_two_processes_share_one_search(
    env: Env, home: Home, make_dataset: MakeDataset, tmp_path: Path
) -> None:
    make_dataset()
    path = tmp_path / "tiny.toml"
    path.write_text(LINE)
    command = [sys.executable, "-m", "ml.cli", "search", "--line", str(path), "--dataset", "d1"]
    command += ["--model", "classifier", "--trials", "3"]
    environ = {"LOUPE_HOME": str(home.root), "LOUPE_THREADS": "1"}
    both = [
        subprocess.Popen(
            command,
            env={**os.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=240) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    last = run(env, home, load_line(path), 3)
    assert sum(last.trials.values()) == 3
    assert last.trials["running"] == 0
    ended = [line for _, err in said for line in err.splitlines() if line.startswith("trial ")]
    assert sorted(line.split(":")[0] for line in ended) == ["trial 0", "trial 1", "trial 2"]
    results = [json.loads(out) for out, _ in said]
    assert all(result["toml"].startswith("[classifier]\nlearning_rate = ") for result in results)
    assert max(result["best"] for result in results) == pytest.approx(1 - last.value)


def test_more_trials_go_on_from_those_there_are(
    env: Env, home: Home, line: LineConfig, make_dataset: MakeDataset
) -> None:
    make_dataset()
    first = run(env, home, line, 1)
    own = {"learning_rate": line.classifier.learning_rate, "batch": line.classifier.batch}
    assert first.keys == own
    assert first.value == first.own_value
    assert sum(run(env, home, line, 2).trials.values()) == 2


def test_validation_without_defects_is_refused(
    env: Env, home: Home, line: LineConfig, make_dataset: MakeDataset
) -> None:
    make_dataset(validation=(4, 0))
    with pytest.raises(DataError, match="validation has no defective images"):
        run(env, home, line, 1)


def test_test_scores_cannot_be_searched_on(
    env: Env, home: Home, line: LineConfig, make_dataset: MakeDataset
) -> None:
    samples = load_dataset(home, "tiny", make_dataset()).split("validation")
    raw, none = {"classifier": np.arange(6.0)}, np.zeros((6, 0), np.float32)
    with pytest.raises(LeakError, match="of validation, not of test"):
        TestScores(samples, raw, none)
    impostor = object.__new__(TestScores)
    with pytest.raises(LeakError, match="validation only"):
        value("f2", impostor, line.costs)  # type: ignore[arg-type]


def test_the_objectives_are_what_they_say(home: Home, make_dataset: MakeDataset) -> None:
    samples = load_dataset(home, "tiny", make_dataset()).split("validation")
    none = np.zeros((6, 0), np.float32)
    assert [sample.is_defect for sample in samples] == [False] * 3 + [True] * 3
    good = ValidationScores(samples, {"classifier": np.array([0.0, 1, 2, 7, 8, 9])}, none)
    mixed = ValidationScores(samples, {"classifier": np.array([0.0, 1, 8, 2, 7, 9])}, none)
    assert best_f2(good) == 1.0
    # All three defects and one good part from 2 on: 5 * 3 / (4 * 3 + 4).
    assert best_f2(mixed) == pytest.approx(15 / 16)
    costs = CostsConfig(escape=10, overkill=10, review=4)
    assert cost(good, costs) < cost(mixed, costs) <= 4


def test_the_keys_are_lines_of_a_line_file(tmp_path: Path) -> None:
    lines = to_toml("classifier", {"learning_rate": 4.2e-05, "batch": 8})
    path = tmp_path / "tiny.toml"
    path.write_text(LINE.rsplit("classifier =", 1)[0] + lines)
    read = load_line(path).classifier
    assert (read.learning_rate, read.batch) == (4.2e-05, 8)
