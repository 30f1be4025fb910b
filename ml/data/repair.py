"""Mend the tables of a line whose files a power cut took, as far as they can be made again.

What is lost is said: whose images are to be ingested anew, and which days to predict again.
"""

import logging
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from ml.data import catalog
from ml.data.damage import added_files, damaged_commits, damaged_files
from ml.errors import DataError
from ml.settings import Home

log = logging.getLogger(__name__)

_NIGHT_TABLES = ("predictions", "shadow")
_DAY = re.compile(r"day=(\d{4}-\d\d-\d\d)")


@dataclass
class Repaired:
    """The files of each table that were missing or damaged, the days of lost predictions, and the
    commands that make anew what is lost."""

    files: dict[str, list[str]] = field(default_factory=dict)
    days: list[str] = field(default_factory=list)
    run: list[str] = field(default_factory=list)


def repair(home: Home, line: str) -> Repaired:
    """Take damaged files out of the tables of a line; they are kept, hidden, beside where they lay.

    Of the log only what came last can be taken out. Raises DataError when an earlier commit is
    damaged, or no file of a table is there: that needs a backup, or the volume that is not mounted.
    """
    done = Repaired()
    days: set[str] = set()
    with catalog.locked(home, line):
        for name in ("images", "labels", *_NIGHT_TABLES):
            path = home.table(line, name)
            if not path.exists():
                continue
            commits = _drop_commits(path)
            lost = damaged_files(path)
            _require_some(path, lost)
            if commits or lost:
                done.files[name] = [str(file) for file in (*commits, *lost)]
            if name in _NIGHT_TABLES:
                days |= {day for file in lost for day in _DAY.findall(str(file))}
                days |= {day for text in commits.values() for day in _DAY.findall(unquote(text))}
            _drop_files(path, lost)
    done.days = sorted(days)
    done.run = _commands(line, done)
    return done


def _require_some(path: Path, lost: list[Path]) -> None:
    # A power cut takes the newest files. Where all of several are gone, the volume is.
    if len(lost) > 1 and len(lost) == len(added_files(path)) and not any(map(Path.exists, lost)):
        msg = (
            f"{path}: none of its {len(lost)} files is there; mount the volume, or restore a backup"
        )
        raise DataError(msg)


def _drop_commits(path: Path) -> dict[Path, str]:
    """Take the damaged end of a log away; returns what these files still said."""
    damaged = damaged_commits(path)
    commits = sorted((path / "_delta_log").glob("*.json"))
    cut = [file for file in damaged if file.suffix == ".json"]
    if cut != commits[len(commits) - len(cut) :]:
        msg = f"{path}: damaged before its last commit: {cut[0]}; restore a backup"
        raise DataError(msg)
    if damaged:
        # It may name a checkpoint that goes; without it the newest whole one is looked for.
        (path / "_delta_log" / "_last_checkpoint").unlink(missing_ok=True)
    said = {file: file.read_text(errors="replace") if file in cut else "" for file in damaged}
    for file in damaged:
        _set_aside(file)
    return said


def _drop_files(path: Path, lost: list[Path]) -> None:
    from deltalake import DeltaTable

    for file in lost:
        if file.exists():
            _set_aside(file)
    if lost:
        DeltaTable(str(path)).repair()
    os.sync()


def _set_aside(file: Path) -> None:
    log.warning("%s: damaged; set aside", file)
    file.rename(file.with_name(f".{file.name}.damaged"))


def _commands(line: str, done: Repaired) -> list[str]:
    """What to run, in order."""
    run = []
    if {"images", "labels"} & done.files.keys():
        run.append(f"loupe ingest --line {line} --full")
        run.append(f"loupe validate --line {line} --batch <the batch that ingest names>")
    if "labels" in done.files:
        run.append(f"loupe review --line {line}")
    for day in done.days:
        steps = ("predict", "publish", "reconcile")
        run += [f"loupe {step} --line {line} --day {day}" for step in steps]
    return run
