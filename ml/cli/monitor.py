"""The step that watches for drift."""

import click

from ml.cli.step import Context, Result, step
from ml.results import open_results


@step
@click.option("--day", required=True, help="YYYY-MM-DD")
def drift(context: Context, day: str) -> Result:
    """Compare a day with its bundle's reference: images, embeddings, model."""
    from ml.monitoring.drift import drift as run

    found = run(context.home, context.line, open_results(context.env, context.home), day)
    return {
        "day": day,
        "severity": found.severity,
        "retrain": found.retrain,
        "note": found.note,
        "reports": found.reports,
        **found.kinds,
    }
