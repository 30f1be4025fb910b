"""What Airflow and the steps below it find in their environment, whatever the executor."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ml.services.processes import HOST, MARK, secret
from ml.settings import Env


@dataclass(frozen=True)
class Addresses:
    """Where the services answer."""

    airflow: str
    dashboard: str
    mlflow: str


def airflow_environment(
    env: Env, project: Path, home: Path, addresses: Addresses, settings: Mapping[str, str]
) -> dict[str, str]:
    """The environment of every service; `home` is AIRFLOW_HOME.

    `settings` (SECTION__KEY) say which database and executor. The rest may be set otherwise by
    variables of the caller's environment.
    """
    common = {
        "CORE__DAGS_FOLDER": str(project / "dags"),
        "CORE__PLUGINS_FOLDER": str(project / "plugins"),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",  # loopback, one person
        "CORE__EXECUTION_API_SERVER_URL": f"{addresses.airflow}/execution/",
        "API__BASE_URL": addresses.airflow,
        "API__WORKERS": "1",
        "API__SECRET_KEY": secret(home / "api.secret"),
        "API_AUTH__JWT_SECRET": secret(home / "jwt.secret"),
        # Shards of one night at most.
        "CORE__MAX_MAP_LENGTH": "4096",
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
        **{f"AIRFLOW__{name}": value for name, value in common.items()},
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


def airflow_commands(port: int, dashboard_port: int) -> dict[str, list[str]]:
    """The commands of Airflow's services and of the dashboard, by name."""
    return {
        "dashboard": python("serving", "--host", HOST, "--port", str(dashboard_port)),
        "api-server": python("airflow", "api-server", "--host", HOST, "--port", str(port)),
        "scheduler": python("airflow", "scheduler", "--skip-serve-logs"),
        "dag-processor": python("airflow", "dag-processor"),
        "triggerer": python("airflow", "triggerer", "--skip-serve-logs"),
    }


def mlflow_command(port: int, artifacts: str) -> list[str]:
    """The command of MLflow's server; MLFLOW_BACKEND_STORE_URI names its database."""
    command = python("mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1")
    return [*command, "--artifacts-destination", artifacts]


def python(module: str, *words: str) -> list[str]:
    """The command that runs a module with this Python."""
    return [sys.executable, "-m", module, *words]
