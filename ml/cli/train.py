"""The step that trains one model."""

from typing import cast

import click

from ml.cli.step import Context, Result, step
from ml.settings.models import ModelName


@step
@click.option("--dataset", required=True, help="a dataset version of `loupe snapshot`")
@click.option("--model", required=True, type=click.Choice(["classifier", "segmenter", "anomaly"]))
def train(context: Context, dataset: str, model: str) -> Result | None:
    """Train one model of the line; resumes a killed run and reuses a finished one."""
    from ml.training.distributed import is_first, process_group
    from ml.training.train import assist
    from ml.training.train import train as run

    asked = (context.env, context.home, context.line, dataset, cast(ModelName, model))
    with process_group():
        if not is_first():
            assist(*asked)
            return None
        done = run(*asked)
    result = done.run.result
    for warning in result["warnings"]:
        click.echo(f"WARNING: {warning}", err=True)
    return {
        "model": model,
        "run": done.run.name,
        "mlflow_run": done.mlflow_run,
        "epochs": result["epochs"],
        "loss": result["loss"],
        "seconds": done.seconds,
        "resumed": done.resumed,
        "skipped": done.skipped,
        "warnings": result["warnings"],
    }
