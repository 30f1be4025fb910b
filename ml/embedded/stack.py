"""Start and stop the embedded services: Airflow on SQLite, MLflow, the Flask app. Loopback only."""

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.request import urlopen

import psutil

from ml import files
from ml.errors import StackError
from ml.settings import Env

# Every process of a stack carries this variable, so that exactly these can be ended, also the
# children of a stack that was killed.
MARK = "LOUPE_STACK"

_HOST = "127.0.0.1"
_PORTS = {"airflow": 8080, "dashboard": 8000, "mlflow": 5000}
_SECONDS_TO_START = 180
_SECONDS_TO_STOP = 12


@dataclass(frozen=True)
class Addresses:
    """Where the services answer."""

    airflow: str
    dashboard: str
    mlflow: str


@contextmanager
def running_stack(env: Env, project: Path) -> Iterator[Addresses]:
    """Run the services for the time of the `with` block; nothing is left running after it.

    What an earlier, killed stack of the same home left behind is ended first. Raises StackError
    naming the log file when a service does not start.
    """
    end_processes(env.home)
    ports = {name: _free_port(wanted) for name, wanted in _PORTS.items()}
    addresses = Addresses(**{name: f"http://{_HOST}:{port}" for name, port in ports.items()})
    environ = _environment(env, project, addresses)
    try:
        _migrate(env, environ)
        for name, command in _commands(env, ports).items():
            _start(env, name, command, environ, project)
        files.write_json(env.home / "stack.json", asdict(addresses))
        _wait(f"{addresses.airflow}/api/v2/monitor/health", env, "api-server")
        _wait(f"{addresses.mlflow}/health", env, "mlflow")
        _wait(f"{addresses.dashboard}/healthz", env, "dashboard")
        yield addresses
    finally:
        end_processes(env.home)


def end_processes(home: Path) -> int:
    """End every process of this home's stack and their children; returns how many there were."""
    mine = [process for process in psutil.process_iter() if _belongs_to(process, home)]
    for process in mine:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(mine, timeout=_SECONDS_TO_STOP)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=_SECONDS_TO_STOP)
    return len(mine)


def _commands(env: Env, ports: Mapping[str, int]) -> dict[str, list[str]]:
    airflow = [sys.executable, "-m", "airflow"]
    mlflow = [sys.executable, "-m", "mlflow", "server", "--host", _HOST, "--workers", "1"]
    mlflow += ["--port", str(ports["mlflow"]), "--backend-store-uri", env.mlflow]
    mlflow += ["--artifacts-destination", str(env.home / "mlruns")]
    serving = [sys.executable, "-m", "serving", "--host", _HOST]
    return {
        "mlflow": mlflow,
        "dashboard": [*serving, "--port", str(ports["dashboard"])],
        "api-server": [*airflow, "api-server", "--host", _HOST, "--port", str(ports["airflow"])],
        "scheduler": [*airflow, "scheduler", "--skip-serve-logs"],
        "dag-processor": [*airflow, "dag-processor"],
        "triggerer": [*airflow, "triggerer", "--skip-serve-logs"],
    }


def _environment(env: Env, project: Path, addresses: Addresses) -> dict[str, str]:
    home = env.home / "airflow"
    settings = {
        "CORE__DAGS_FOLDER": str(project / "dags"),
        "CORE__PLUGINS_FOLDER": str(project / "plugins"),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": "2",
        "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",  # loopback, one person
        "CORE__EXECUTION_API_SERVER_URL": f"{addresses.airflow}/execution/",
        "API__BASE_URL": addresses.airflow,
        "API__WORKERS": "1",
        "API__SECRET_KEY": _secret(home / "api.secret"),
        "API_AUTH__JWT_SECRET": _secret(home / "jwt.secret"),
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        # A task whose worker was killed is noticed, and retried, this soon; a task of a scheduler
        # that was killed is taken over as soon.
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "45",
        "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "20",
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        "DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "30",
        "LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    return {
        **os.environ,
        **{f"AIRFLOW__{name}": value for name, value in settings.items()},
        "AIRFLOW_HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(project), os.environ.get("PYTHONPATH")])),
        "LOUPE_HOME": str(env.home),
        "LOUPE_LINES": str(env.lines),
        "LOUPE_DASHBOARD_URL": f"{addresses.dashboard}/",
        # MLflow's job runners serve features that Loupe does not use, at 1.5 GB.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        # Training shares the cores with Airflow: a thread that waits must not spin.
        "OMP_WAIT_POLICY": "PASSIVE",
        MARK: str(env.home),
        # Airflow names its processes in the memory that holds their variables; the mark must stay.
        "SPT_NOENV": "1",
    }


def _secret(path: Path) -> str:
    if not path.exists():
        files.write_bytes(path, secrets.token_hex(32).encode())
        path.chmod(0o600)
    return path.read_text()


def _migrate(env: Env, environ: dict[str, str]) -> None:
    command = [sys.executable, "-m", "airflow", "db", "migrate"]
    log = _log(env, "migrate")
    with log.open("ab") as output:
        done = subprocess.run(command, env=environ, stdout=output, stderr=output, check=False)
    if done.returncode:
        msg = f"Airflow's database could not be made; see {log}"
        raise StackError(msg)


def _start(env: Env, name: str, command: list[str], environ: dict[str, str], project: Path) -> None:
    with _log(env, name).open("ab") as output:
        subprocess.Popen(
            command,
            env=environ,
            cwd=project,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # Ctrl-C is for the demo, which then ends the services in order.
            start_new_session=True,
        )


def _wait(url: str, env: Env, name: str) -> None:
    deadline = time.monotonic() + _SECONDS_TO_START
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), urlopen(url, timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(1)
    msg = f"{name} did not answer at {url} within {_SECONDS_TO_START} s; see {_log(env, name)}"
    raise StackError(msg)


def _log(env: Env, name: str) -> Path:
    path = env.home / "logs" / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _free_port(wanted: int) -> int:
    """`wanted`, or the next port that nobody listens on."""
    for port in range(wanted, wanted + 200):
        with socket.socket() as probe:
            try:
                probe.bind((_HOST, port))
            except OSError:
                continue
            return port
    msg = f"no free port from {wanted} to {wanted + 199} on {_HOST}"
    raise StackError(msg)


def _belongs_to(process: psutil.Process, home: Path) -> bool:
    try:
        return bool(process.pid != os.getpid() and process.environ().get(MARK) == str(home))
    except (psutil.Error, OSError):
        return False
