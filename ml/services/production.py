"""The production services as plain processes: Postgres, Redis, S3, Firestore, MLflow, Airflow.

Airflow runs on Postgres with the CeleryExecutor and a worker each for the queues `default` and
`gpu`. Everything is on loopback; what it holds lies in `stack/` of the home and is kept.
"""

import contextlib
import importlib.util
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from ml import files
from ml.errors import StackError
from ml.services import firestore, postgres, redis
from ml.services.airflow import Airflow
from ml.services.environment import (
    Addresses,
    airflow_commands,
    airflow_environment,
    mlflow_command,
    python,
)
from ml.services.firestore import Firestore
from ml.services.postgres import Postgres
from ml.services.processes import HOST, MARK, Processes, end_processes, free_port, secret
from ml.services.redis import Redis
from ml.settings import Env, Home

_PORTS = {
    "airflow": 8080, "dashboard": 8000, "mlflow": 5000,
    "postgres": 5432, "redis": 6379, "s3": 9000, "firestore": 8090,
}  # fmt: skip
_STORES = ("postgres", "redis", "s3", "firestore")
_BUCKETS = ("images", "mlflow")
_WORKERS = {"default": 2, "gpu": 1}

# What the services import beyond a plain installation, by the package that has it.
_MODULES = {
    "airflow.providers.celery": "apache-airflow-providers-celery",
    "psycopg2": "psycopg2-binary",
    "asyncpg": "asyncpg",
    "redis": "redis",
    "moto": "moto[server]",
}


@dataclass(frozen=True)
class StackAddresses(Addresses):
    """Where the services answer; `firestore` is empty when results go to SQLite."""

    s3: str
    firestore: str


@dataclass(frozen=True)
class Stack:
    """The running services of one home."""

    addresses: StackAddresses
    services: Processes

    def watch(self) -> Iterator[str]:
        """Start again whatever ends; yields a line about each, and an empty one every second."""
        while True:
            for name, status in self.services.revive().items():
                yield f"{name} ended with status {status}; started again"
            _write_pids(self.services)
            yield ""
            time.sleep(1)


def missing() -> list[str]:
    """What is not installed here, each with what has it."""
    found = [f"Debian package `{one.PACKAGE}`" for one in (postgres, redis) if not one.installed()]
    for module, package in _MODULES.items():
        try:
            there = importlib.util.find_spec(module) is not None
        except ModuleNotFoundError:
            there = False
        if not there:
            found.append(f"Python package `{package}` (`make setup` installs it)")
    return found


@contextmanager
def running_stack(env: Env, project: Path) -> Iterator[Stack]:
    """Run the services for the time of the `with` block; nothing is left running after it.

    What an earlier, killed stack of the same home left behind is ended first. Raises StackError
    that names what is not installed, or the log of a service that does not start.
    """
    lacking = missing()
    if lacking:
        msg = f"the stack needs what is not here: {', '.join(lacking)}"
        raise StackError(msg)
    end_processes(env.home)
    ports = {name: free_port(wanted) for name, wanted in _PORTS.items()}
    home = Home(env.home)
    folder = home.stack
    database = Postgres(folder / "postgres", ports["postgres"])
    broker = Redis(folder / "redis", ports["redis"])
    results = Firestore(folder / "firestore", ports["firestore"])
    addresses = _addresses(ports)
    environ = _environment(env, project, addresses, database, broker)
    services = Processes(env.home, project)
    try:
        database.start(services)
        broker.start(services)
        if addresses.firestore:
            results.start(services)
        services.start("s3", _s3(folder / "s3", ports["s3"]), environ)
        database.make_databases(services, ["airflow", "mlflow"])
        services.wait_for_port("s3", ports["s3"])
        services.start(
            "mlflow",
            mlflow_command(ports["mlflow"], "s3://mlflow"),
            {**environ, "MLFLOW_BACKEND_STORE_URI": database.address("mlflow")},
        )
        services.run("migrate", python("airflow", "db", "migrate"), environ)
        for name, command in _airflow(ports, folder).items():
            services.start(name, command, environ)
        _write_environment(folder / "env", environ)
        services.wait_for_port("redis", ports["redis"])
        if addresses.firestore:
            services.wait_for_port("firestore", ports["firestore"])
        services.wait_for_answer("api-server", f"{addresses.airflow}/api/v2/monitor/health")
        services.wait_for_answer("mlflow", f"{addresses.mlflow}/health")
        services.wait_for_answer("dashboard", f"{addresses.dashboard}/healthz")
        airflow = Airflow(addresses.airflow)
        airflow.login()
        airflow.ensure_pool("gpu", _WORKERS["gpu"])
        _write_pids(services)
        files.write_json(home.addresses, asdict(addresses))
        yield Stack(addresses, services)
    finally:
        _end(env, services.pids(), results if addresses.firestore else None, database)


def _end(env: Env, pids: dict[str, int], results: Firestore | None, database: Postgres) -> None:
    """First what writes, then what is written to."""
    Home(env.home).addresses.unlink(missing_ok=True)
    end_processes(env.home, spare=[pids[name] for name in _STORES if name in pids])
    if results is not None:
        with contextlib.suppress(OSError):  # it never came up
            results.save()
    end_processes(env.home)
    database.stop()


def _addresses(ports: dict[str, int]) -> StackAddresses:
    web = {
        name: f"http://{HOST}:{ports[name]}" for name in ("airflow", "dashboard", "mlflow", "s3")
    }
    with_firestore = firestore.installed() and os.environ.get("LOUPE_RESULTS") != "sqlite"
    return StackAddresses(**web, firestore=f"{HOST}:{ports['firestore']}" if with_firestore else "")


def _s3(folder: Path, port: int) -> list[str]:
    command = python("ml.services.s3", "--port", str(port), "--folder", str(folder))
    for bucket in _BUCKETS:
        command += ["--bucket", bucket]
    return command


def _airflow(ports: dict[str, int], folder: Path) -> dict[str, list[str]]:
    commands = airflow_commands(ports["airflow"], ports["dashboard"])
    for queue, concurrency in _WORKERS.items():
        name = f"worker-{queue}"
        commands[name] = [
            *python("airflow", "celery", "worker", "--queues", queue, "--skip-serve-logs"),
            *("--concurrency", str(concurrency), "--celery-hostname", f"{queue}@%h"),
            *("--pid", str(folder / f"{name}.celery.pid"), "--without-mingle", "--without-gossip"),
        ]
    return commands


def _environment(
    env: Env, project: Path, addresses: StackAddresses, database: Postgres, broker: Redis
) -> dict[str, str]:
    settings = {
        "CORE__EXECUTOR": "CeleryExecutor",
        "DATABASE__SQL_ALCHEMY_CONN": database.address("airflow"),
        "CELERY__BROKER_URL": broker.address,
    }
    home = Home(env.home).stack / "airflow"
    return {
        # A message that a killed worker held is delivered anew; one whose task still runs is then
        # recognised by Airflow and dropped.
        "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "300",
        # On a busy machine a message may take longer than the second that is the default.
        "AIRFLOW__CELERY__OPERATION_TIMEOUT": "10",
        **airflow_environment(env, project, home, addresses, settings),
        **_steps(addresses, secret(home / "s3.secret")),
    }


def _steps(addresses: StackAddresses, s3_secret: str) -> dict[str, str]:
    """What the steps and the dashboard read: the same variables as in any production."""
    found = {
        "LOUPE_MLFLOW": addresses.mlflow,
        "AWS_ENDPOINT_URL": addresses.s3,
        "MLFLOW_S3_ENDPOINT_URL": addresses.s3,
        "AWS_ACCESS_KEY_ID": "loupe",
        "AWS_SECRET_ACCESS_KEY": s3_secret,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    if addresses.firestore:
        found["LOUPE_RESULTS"] = f"firestore:{firestore.PROJECT}"
        found["FIRESTORE_EMULATOR_HOST"] = addresses.firestore
    return found


def _write_environment(path: Path, environ: dict[str, str]) -> None:
    """`. stack/env` gives a terminal what the steps of this stack have."""
    ours = ("LOUPE_", "AWS_", "MLFLOW_S3", "FIRESTORE_")
    names = sorted(name for name in environ if name.startswith(ours) and name != MARK)
    rows = [f"export {name}='{environ[name]}'\n" for name in names]
    files.write_bytes(path, "".join(rows).encode(), mode=0o600)


def _write_pids(services: Processes) -> None:
    path = Home(services.home).stack / "pids.json"
    pids = services.pids()
    if not path.exists() or files.read_json(path) != pids:
        files.write_json(path, pids)
