"""Start and stop the embedded services: Airflow on SQLite, MLflow, the Flask app. Loopback only."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from ml import files
from ml.services.environment import (
    Addresses,
    airflow_commands,
    airflow_environment,
    mlflow_command,
    python,
)
from ml.services.processes import HOST, Processes, end_processes, free_port
from ml.settings import Env, Home

_PORTS = {"airflow": 8080, "dashboard": 8000, "mlflow": 5000}


@contextmanager
def running_stack(env: Env, project: Path) -> Iterator[Addresses]:
    """Run the services for the time of the `with` block; nothing is left running after it.

    What an earlier, killed stack of the same home left behind is ended first. Raises StackError
    naming the log file when a service does not start.
    """
    end_processes(env.home)
    ports = {name: free_port(wanted) for name, wanted in _PORTS.items()}
    addresses = Addresses(**{name: f"http://{HOST}:{port}" for name, port in ports.items()})
    environ = _environment(env, project, addresses)
    services = Processes(env.home, project)
    try:
        services.run("migrate", python("airflow", "db", "migrate"), environ)
        mlflow = mlflow_command(ports["mlflow"], str(env.home / "mlruns"))
        services.start("mlflow", mlflow, {**environ, "MLFLOW_BACKEND_STORE_URI": env.mlflow})
        for name, command in airflow_commands(ports["airflow"], ports["dashboard"]).items():
            services.start(name, command, environ)
        files.write_json(Home(env.home).addresses, asdict(addresses))
        services.wait_for_answer("api-server", f"{addresses.airflow}/api/v2/monitor/health")
        services.wait_for_answer("mlflow", f"{addresses.mlflow}/health")
        services.wait_for_answer("dashboard", f"{addresses.dashboard}/healthz")
        yield addresses
    finally:
        end_processes(env.home)


def _environment(env: Env, project: Path, addresses: Addresses) -> dict[str, str]:
    home = Home(env.home).airflow
    settings = {
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": "2",
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
    }
    return airflow_environment(env, project, home, addresses, settings)
