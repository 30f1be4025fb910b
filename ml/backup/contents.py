"""What of a home a backup holds, and in which order.

What names other things is copied before them: a plan before the tables whose version it names,
rows before the objects that they name. A home that is in use while it is copied so never yields a
name without the thing. What was written halfway is done again by its step, as after a kill.
"""

import re
from collections.abc import Iterator
from pathlib import Path

# Newest knowledge first; what is not named here comes last. The ledger of promotions is never
# behind the live file.
_ORDER = (
    *(
        "watermarks",
        "results.db",
        "mlflow.db",
        "live",
        "waiting",
        "ledger",
        "nights",
        "latency",
        "reports",
        "searches",
    ),
    *("training", "mlruns", "datasets", "catalog", "staging", "bundles", "objects"),
)
# A drop is in its ledger before it is in the catalog, so this one is never behind either.
_DROPS = "ledger/*/quarantine.jsonl"
# The state of running services and their logs, and measured times; the key is kept apart.
LEFT_OUT = ("airflow", "stack", "logs", "speed", "stack.json", "mlflow.lock", "restoring.json")
SIGNING_KEY = "keys/signing.key"

# Loupe's temporary files are hidden; those of Delta Lake end in a number; a lock may be held.
_HALF = re.compile(r"\.|.*#\d+$|.*\.lock$")
_LOG = re.compile(r"(\d{20})\.(json|checkpoint.*\.parquet)")


def files_of(root: Path, tables: dict[str, int]) -> Iterator[Path]:
    """The files of a home in the order in which they are to be copied.

    `tables` gets the version at which each Delta table stands; later commits are left out.
    """
    place = {name: number for number, name in enumerate(_ORDER)}
    top = (path for path in root.iterdir() if path.name not in LEFT_OUT)
    for path in sorted(top, key=lambda one: (place.get(one.name, len(place)), one.name)):
        if path.name == "catalog":
            yield from _catalog(root, path, tables)
        else:
            yield from (one for one in _below(path) if not one.match(_DROPS))
    yield from sorted(root.glob(_DROPS))


def _catalog(root: Path, catalog: Path, tables: dict[str, int]) -> Iterator[Path]:
    logs = sorted(catalog.glob("*/*/_delta_log"))
    for log in logs:
        versions = [int(path.stem) for path in log.glob("*.json") if path.stem.isdigit()]
        version = max(versions, default=-1)
        tables[log.parent.relative_to(catalog).as_posix()] = version
        for path in _below(log):
            match = _LOG.fullmatch(path.name)
            if match and int(match[1]) <= version:
                yield path
    # Data files never change, and those of a version are there before it is.
    for path in _below(catalog):
        if "_delta_log" not in path.relative_to(root).parts:
            yield path


def _below(path: Path) -> Iterator[Path]:
    """The files below a path, or itself, without half-written ones and what SQLite keeps beside."""
    if path.is_file():
        if not _HALF.match(path.name) and not path.name.endswith((".db-wal", ".db-shm")):
            yield path
    elif path.is_dir() and not path.name.startswith("."):
        for below in sorted(path.iterdir()):
            yield from _below(below)
