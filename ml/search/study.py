"""The trials of one search: an Optuna study in SQLite that any number of processes work on.

A process holds the lock of the trial that it works on. A trial that is running in the study while
nobody holds its lock was killed: the next process takes it up where its checkpoint stands.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from ml import files
from ml.files import content_key

# Trials that are drawn at random, and that run to their end, before their results say anything.
_RANDOM_TRIALS = 6
_UNPRUNED_TRIALS = 4
# Epochs that a trial may take before it is compared.
_UNPRUNED_EPOCHS = 1
_WAIT_S = 60


class Study:
    """Trials numbered from 0, at most `trials` of them; lower values are better.

    The pruner stops a trial whose loss is above the median of the trials before it at the same
    epoch (Golovin et al., KDD 2017). What is drawn for a trial follows from `seed`, its number and
    the trials that are there.
    """

    def __init__(self, folder: Path, trials: int, seed: int, first: dict[str, object]) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.folder = folder
        self._most, self._seed = trials, seed
        with files.locked(folder):
            self._study = optuna.create_study(
                storage=RDBStorage(
                    f"sqlite:///{folder / 'study.db'}",
                    engine_kwargs={"connect_args": {"timeout": _WAIT_S}},
                ),
                study_name="search",
                direction="minimize",
                load_if_exists=True,
                pruner=MedianPruner(_UNPRUNED_TRIALS, _UNPRUNED_EPOCHS),
            )
            if not self._study.trials:
                self._study.enqueue_trial(first)

    @contextmanager
    def next_trial(self) -> Iterator[Trial | None]:
        """A trial for this process alone: one that was killed, or else a new one; None at the end.

        It is over when the caller has told its result; what is raised before leaves it to others.
        """
        trial, lock = self._take()
        try:
            yield trial
        finally:
            if lock is not None:
                os.close(lock)

    def tell(self, trial: Trial, value: float | None, state: TrialState) -> None:
        """The result of a trial; its checkpoint goes."""
        self._study.tell(trial.number, value, state)
        self.checkpoint(trial).unlink(missing_ok=True)

    def checkpoint(self, trial: Trial) -> Path:
        """Where a trial keeps its epochs."""
        return self.folder / f"trial-{trial.number:04d}.safetensors"

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """The trials in one of these states, by number."""
        found: list[FrozenTrial] = self._study.get_trials(deepcopy=False, states=states)
        return found

    @property
    def best(self) -> FrozenTrial | None:
        """The complete trial of the lowest value, the first of equal ones."""
        done = self.trials(TrialState.COMPLETE)
        return min(done, key=lambda trial: (trial.value, trial.number), default=None)

    def _take(self) -> tuple[Trial | None, int | None]:
        with files.locked(self.folder):
            for one in self.trials(TrialState.RUNNING):
                lock = self._lock(one.number)
                if lock is not None:
                    return Trial(self._study, one._trial_id), lock
            begun = len(self._study.trials) - len(self.trials(TrialState.WAITING))
            if begun >= self._most:
                return None, None
            # A sampler of its own for each trial: two processes with one seed draw the same.
            self._study.sampler = TPESampler(
                seed=int(content_key([self._seed, begun], 8), 16), n_startup_trials=_RANDOM_TRIALS
            )
            trial = self._study.ask()
            return trial, self._lock(trial.number)

    def _lock(self, number: int) -> int | None:
        """The lock of a trial, or None while a living process holds it."""
        handle = os.open(self.folder / f"trial-{number:04d}.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        return handle
