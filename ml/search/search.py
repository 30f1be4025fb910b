"""The `search` command: trials of other training settings, judged on validation."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from optuna.exceptions import TrialPruned
from optuna.trial import Trial, TrialState

from ml.data.dataset import Dataset, load_dataset
from ml.errors import TrainingError
from ml.files import content_key
from ml.progress import Progress
from ml.search.objective import Objective, score_validation, value
from ml.search.space import Searchable, changed, own_keys, rounded, suggest
from ml.search.study import Study
from ml.settings import Env, Home, LineConfig
from ml.training.classifier import fit_classifier
from ml.training.enough import require_model
from ml.training.run import run_name, weights_sha256
from ml.training.segmenter import fit_segmenter
from ml.training.train import input_size

log = logging.getLogger(__name__)

# Changes when this code would try or judge other settings.
_RECIPE = 2

_OVER = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True)
class Found:
    """The best keys of a search and how its trials ended.

    `value` and `own_value`, that of the line's own keys, are of validation, where the keys were
    chosen; lower is better. `own_value` is None where that trial is still running or was refused.
    """

    keys: dict[str, Any]
    value: float
    own_value: float | None
    trials: dict[str, int]


@dataclass(frozen=True)
class Search:
    """One model of a line on a dataset, and what its trials are judged by."""

    env: Env
    home: Home
    line: LineConfig
    data: Dataset
    model: Searchable
    objective: Objective

    @property
    def folder(self) -> Path:
        """Where the study lies: one for all that determines what a trial is worth."""
        run = run_name(self.line, self.data.name, self.model, weights_sha256(self.line.backbone))
        costs = self.line.costs.model_dump() if self.objective == "cost" else None
        key = content_key([_RECIPE, run, self.objective, costs])
        return self.home.search(self.line.name, f"{self.model}-{key}")

    def judge(self, keys: dict[str, Any], trial: Trial, checkpoint: Path) -> float:
        """Train with these keys and the line's seed; raises TrialPruned half-way."""
        line = changed(self.line, self.model, keys)
        fit = fit_classifier if self.model == "classifier" else fit_segmenter
        threads = self.env.threads
        network, _ = fit(self.home, line, self.data, checkpoint, threads, _pruner(trial))
        size = input_size(line, self.model)
        tiled = self.model == "segmenter" and line.segmenter.tile is not None
        found = score_validation(self.home, self.data, self.model, network, size, tiled, threads)
        return value(self.objective, found, line.costs)


def search(
    env: Env,
    home: Home,
    line: LineConfig,
    dataset: str,
    model: Searchable,
    trials: int,
    objective: Objective,
) -> Found:
    """Work on a search until it has `trials` trials; repeated, it changes nothing.

    Other processes may work on it at the same time; the trial of a killed one is taken up by the
    next. Raises TrainingError when no trial came to its end.
    """
    require_model(line, model)
    if model == "segmenter" and line.segmenter.method == "patches":
        msg = "`segmenter.method` is patches, which has no training settings worth a search"
        raise TrainingError(msg)
    torch.set_num_threads(env.threads)
    task = Search(env, home, line, load_dataset(home, line.name, dataset), model, objective)
    study = Study(task.folder, trials, line.seed, own_keys(line, model))
    before = len(study.trials(*_OVER))
    with Progress(f"search {model}", max(trials - before, 0)) as progress:
        while _work(task, study):
            progress.step(len(study.trials(*_OVER)) - before - progress.done)
    return _found(study)


def _work(task: Search, study: Study) -> bool:
    """Do one trial; False when none is left."""
    with study.next_trial() as trial:
        if trial is None:
            return False
        keys = suggest(trial, task.line, task.model)
        try:
            found = task.judge(keys, trial, study.checkpoint(trial))
        except TrialPruned:
            study.tell(trial, None, TrialState.PRUNED)
            log.info("trial %d: %s: pruned", trial.number, keys)
        except TrainingError as error:
            trial.set_user_attr("error", str(error))
            study.tell(trial, None, TrialState.FAIL)
            log.warning("trial %d: %s: %s", trial.number, keys, error)
        else:
            study.tell(trial, found, TrialState.COMPLETE)
            log.info("trial %d: %s: %.4f", trial.number, keys, found)
        return True


def _pruner(trial: Trial) -> Callable[[list[float]], None]:
    """Reports each epoch's validation loss once, and stops a trial that falls behind."""
    known = set(trial.study.trials[trial.number].intermediate_values)

    def after_epoch(losses: list[float]) -> None:
        for epoch, loss in enumerate(losses):
            # The start is the same in every trial; a resumed trial repeats what it has reported.
            if epoch and epoch not in known:
                trial.report(loss, epoch)
                known.add(epoch)
        if trial.should_prune():
            raise TrialPruned

    return after_epoch


def _found(study: Study) -> Found:
    best = study.best
    if best is None:
        refused = [trial.user_attrs["error"] for trial in study.trials(TrialState.FAIL)]
        why = f": {refused[-1]}" if refused else ""
        msg = f"{study.folder}: no trial came to its end{why}. Delete the folder to search anew"
        raise TrainingError(msg)
    own = next((one.value for one in study.trials(TrialState.COMPLETE) if one.number == 0), None)
    states = {
        "complete": TrialState.COMPLETE,
        "pruned": TrialState.PRUNED,
        "refused": TrialState.FAIL,
        "running": TrialState.RUNNING,
    }
    counts = {name: len(study.trials(state)) for name, state in states.items()}
    assert best.value is not None
    return Found(rounded(best.params), best.value, own, counts)
