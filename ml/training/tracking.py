"""Training runs in MLflow: parameters, losses, tags and the small result; each run once."""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ml.errors import StackError
from ml.settings import Env, LineConfig
from ml.training.run import RESULT, Run


def track_run(env: Env, line: LineConfig, run: Run) -> str:
    """Record a finished run and return its MLflow run id; a run recorded before is found again.

    A record that a killed process left unfinished is replaced. Raises StackError when MLflow does
    not answer.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        client = open_client(env)
        with _alone(env):
            return _record(client, env, line, run)
    except (MlflowException, SQLAlchemyError) as error:
        msg = f"MLflow at {env.mlflow} refused run {run.name}: {error}; train again to record it"
        raise StackError(msg) from error


def open_client(env: Env) -> Any:
    """An MLflow client on the installation's tracking and registry address."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    # MLflow's own progress lines about its database belong in no step's log.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with _alone(env):
        # The first client creates the tables; two processes doing so at once break each other.
        return MlflowClient(tracking_uri=env.mlflow, registry_uri=env.mlflow)


def _record(client: Any, env: Env, line: LineConfig, run: Run) -> str:
    experiment = _experiment(client, env, line.name)
    for found in client.search_runs([experiment], f"tags.run = '{run.name}'"):
        if found.info.status == "FINISHED":
            if run.int8 is not None and "int8_shipped" not in found.data.metrics:
                _log(client, found.info.run_id, _int8_figures(run.int8))
            return str(found.info.run_id)
        client.delete_run(found.info.run_id)
    result = run.result
    run_id = str(client.create_run(experiment, tags=_tags(run)).info.run_id)
    for key, value in _parameters(line, result).items():
        client.log_param(run_id, key, value)
    for epoch, loss in enumerate(result["losses"]):
        client.log_metric(run_id, "validation_loss", loss, step=epoch)
    figures = {"parity": result["parity"]}
    figures |= {f"validation_{name}": value for name, value in result["metrics"].items()}
    if run.int8 is not None:
        figures |= _int8_figures(run.int8)
    _log(client, run_id, figures)
    client.log_artifact(run_id, str(run.folder / RESULT))
    client.set_terminated(run_id)
    return run_id


def _log(client: Any, run_id: str, figures: dict[str, float | None]) -> None:
    for name, value in figures.items():
        if value is not None:
            client.log_metric(run_id, name, value)


def _int8_figures(int8: dict[str, Any]) -> dict[str, float | None]:
    card, speed = int8["card"], int8["speed"] or {}
    return {
        "int8_shipped": float(card["shipped"]),
        "int8_size_ratio": card.get("size_ratio"),
        "int8_loss_points": card.get("loss_points"),
        "fp32_ms": speed.get("fp32_ms"),
        "int8_ms": speed.get("int8_ms"),
    }


def _experiment(client: Any, env: Env, line: str) -> str:
    found = client.get_experiment_by_name(line)
    if found is not None:
        return str(found.experiment_id)
    # A server keeps artifacts where it was told to; without one they lie in the home.
    served = env.mlflow.startswith(("http://", "https://"))
    folder = None if served else (env.home / "mlruns" / line).as_uri()
    return str(client.create_experiment(line, artifact_location=folder))


def _tags(run: Run) -> dict[str, str]:
    result = run.result
    return {
        "run": run.name,
        "model": result["model"],
        "dataset": result["dataset"],
        "code": result["code"],
        "seed": str(result["seed"]),
        "backbone_sha256": str(result["backbone"]["weights_sha256"]),
        "weights_sha256": result["weights_sha256"],
        "mlflow.runName": run.name,
    }


def _parameters(line: LineConfig, result: dict[str, Any]) -> dict[str, Any]:
    settings = getattr(line, result["model"]).model_dump(mode="json")
    return {"seed": result["seed"], "backbone": result["backbone"]["name"], **settings}


@contextmanager
def _alone(env: Env) -> Iterator[None]:
    """One process of this installation at a time, so that no run is recorded twice."""
    env.home.mkdir(parents=True, exist_ok=True)
    with (env.home / "mlflow.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
