"""Steps from finished runs to a live bundle: evaluate, gate, promote."""

import click

from ml.cli.step import Context, Result, step


@step
@click.option("--dataset", required=True, help="a dataset version of `loupe snapshot`")
def evaluate(context: Context, dataset: str) -> Result:
    """Measure the trained models on held-out groups and seal them into a bundle."""
    from ml.evaluation.evaluate import evaluate as run

    made = run(context.env, context.home, context.line, dataset)
    card = made.bundle.card
    for warning in card.warnings:
        click.echo(f"WARNING: {warning}", err=True)
    return {
        "bundle": made.bundle.name,
        "metrics": {name: metric.model_dump() for name, metric in card.metrics.items()},
        "report": str(made.report),
        "warnings": list(card.warnings),
    }
