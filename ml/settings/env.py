"""The environment variables that an installation may set; each has a working default."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ml.errors import SettingsError


@dataclass(frozen=True)
class Env:
    """What the environment says, read once at the edge (`Env.read()`).

    | variable | default | meaning |
    | --- | --- | --- |
    | LOUPE_HOME | .loupe | root folder of the installation |
    | LOUPE_LINES | lines | folder with one TOML per inspection line |
    | LOUPE_RESULTS | sqlite | `sqlite`, or `firestore:<project>` |
    | LOUPE_MLFLOW | SQLite file in LOUPE_HOME | MLflow tracking URI |
    | LOUPE_THREADS | the cores that it may use | threads that decoding and inference may use |
    | LOUPE_SIGNING_KEY | made in LOUPE_HOME/keys | Ed25519 private key (PEM) that seals bundles |
    | LOUPE_TRUSTED_KEYS | LOUPE_HOME/keys/trusted | folder of `*.pub` (PEM), or one such file |
    | LOUPE_LAST_TRY | no | `1`: no retry follows, so `predict` holds what it could try again |
    """

    home: Path
    lines: Path
    results: str
    mlflow: str
    threads: int
    signing_key: Path | None = None
    trusted_keys: Path | None = None
    last_try: bool = False

    @classmethod
    def read(cls, environ: Mapping[str, str] = os.environ) -> "Env":
        """Read the variables; raises SettingsError that names the variable and its value."""
        home = Path(environ.get("LOUPE_HOME", ".loupe")).absolute()
        results = environ.get("LOUPE_RESULTS", "sqlite")
        if results != "sqlite" and not results.startswith("firestore:"):
            msg = f"LOUPE_RESULTS is {results!r}; expected `sqlite` or `firestore:<project>`"
            raise SettingsError(msg)
        return cls(
            home=home,
            lines=Path(environ.get("LOUPE_LINES", "lines")).absolute(),
            results=results,
            mlflow=environ.get("LOUPE_MLFLOW", f"sqlite:///{home / 'mlflow.db'}"),
            threads=_threads(environ.get("LOUPE_THREADS", "0")),
            signing_key=_existing(environ, "LOUPE_SIGNING_KEY"),
            trusted_keys=_existing(environ, "LOUPE_TRUSTED_KEYS"),
            last_try=environ.get("LOUPE_LAST_TRY", "") not in ("", "0"),
        )


def _threads(text: str) -> int:
    if not text.isdigit():
        msg = f"LOUPE_THREADS is {text!r}; expected a whole number, 0 for all cores"
        raise SettingsError(msg)
    return int(text) or cores()


def cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """How many cores this process may use: its affinity, and the CPU limit of its container.

    A container sees its own limit there (cgroup v2); a request without a limit is told nowhere.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
        limit = math.ceil(int(quota) / int(period))
    except (OSError, ValueError):  # no such file, or `max`
        return allowed or 1
    return max(1, min(allowed or 1, limit))


def _existing(environ: Mapping[str, str], name: str) -> Path | None:
    """The path that a variable names; a path that is not there must not quietly become another."""
    if not environ.get(name):
        return None
    path = Path(environ[name]).absolute()
    if not path.exists():
        msg = f"{name} is {environ[name]!r}; expected a path that exists"
        raise SettingsError(msg)
    return path
