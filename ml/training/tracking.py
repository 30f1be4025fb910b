"""Training runs in MLflow: parameters, losses, tags and the small result; each run once."""

import logging
from typing import Any

from ml.settings import Env, LineConfig
from ml.training.run import RESULT, Run

log = logging.getLogger(__name__)


def track_run(env: Env, line: LineConfig, run: Run) -> str:
    """Record a finished run and return its MLflow run id; a run recorded before is found again."""
    client = open_client(env)
    experiment = _experiment(client, env, line.name)
    found = client.search_runs(
        [experiment], f"tags.run = '{run.name}' and attributes.status = 'FINISHED'", max_results=1
    )
    if found:
        return str(found[0].info.run_id)
    result = run.result
    tags = {
        "run": run.name,
        "dataset": result["dataset"],
        "code": result["code"],
        "backbone_sha256": str(result["backbone"]["weights_sha256"]),
        "mlflow.runName": run.name,
    }
    started = client.create_run(experiment, tags=tags)
    run_id = str(started.info.run_id)
    for key, value in _parameters(line, result).items():
        client.log_param(run_id, key, value)
    for epoch, loss in enumerate(result["losses"]):
        client.log_metric(run_id, "validation_loss", loss, step=epoch)
    client.log_metric(run_id, "parity", result["parity"])
    client.log_artifact(run_id, str(run.folder / RESULT))
    client.set_terminated(run_id)
    return run_id


def open_client(env: Env) -> Any:
    """An MLflow client on the installation's tracking and registry address."""
    from mlflow import MlflowClient

    # MLflow's own progress lines about its database belong in no step's log.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=env.mlflow, registry_uri=env.mlflow)


def _experiment(client: Any, env: Env, line: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(line)
    if found is not None:
        return str(found.experiment_id)
    try:
        folder = (env.home / "mlruns" / line).as_uri()
        return str(client.create_experiment(line, artifact_location=folder))
    except MlflowException:
        # Another step of this line made it a moment ago.
        return str(client.get_experiment_by_name(line).experiment_id)


def _parameters(line: LineConfig, result: dict[str, Any]) -> dict[str, Any]:
    settings = getattr(line, result["model"]).model_dump(mode="json")
    return {"seed": result["seed"], "backbone": result["backbone"]["name"], **settings}
