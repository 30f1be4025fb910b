"""Steps from finished runs to a live bundle: evaluate, gate, promote, reject, rollback."""

import click

from ml.cli.step import Context, Result, current_user, step


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


@step
@click.option("--bundle", required=True, help="a bundle of `loupe evaluate`")
def gate(context: Context, bundle: str) -> Result:
    """Compare a bundle with the line's minimum and with the champion."""
    from ml.evaluation.promote import gate as run

    found = run(context.env, context.home, context.line, bundle)
    return {
        "bundle": bundle,
        "promote": found.promote,
        "reasons": list(found.reasons),
        "champion": found.champion,
    }


@step
@click.option("--bundle", required=True, help="a bundle of `loupe evaluate`")
@click.option("--by", default=current_user, show_default="you", help="who promotes it")
def promote(context: Context, bundle: str, by: str) -> Result:
    """Make a bundle the champion; promoting it twice changes nothing."""
    from ml.evaluation.promote import promote as run

    done = run(context.env, context.home, context.line, bundle, by)
    return {"bundle": done.bundle, "previous": done.previous, "version": done.version}


@step
@click.option("--bundle", required=True, help="one that the gate let through")
@click.option("--by", default=current_user, show_default="you", help="who rejects it")
@click.option("--reason", default="", help="why; it goes into the ledger")
def reject(context: Context, bundle: str, by: str, reason: str) -> Result:
    """Refuse a bundle that waits for its promotion; the gate lets it through no more."""
    from ml.evaluation.reject import reject as run

    done = run(context.env, context.home, context.line, bundle, by, reason)
    return {"bundle": done.bundle, "by": done.by, "at": done.at.isoformat()}


@step
@click.option("--bundle", help="take out this one only; nothing changes when it is out already")
@click.option("--by", default=current_user, show_default="you", help="who rolls back")
@click.option("--reason", default="", help="why; it goes into the ledger")
def rollback(context: Context, bundle: str | None, by: str, reason: str) -> Result:
    """Make the champion before this one live again; repeated, the one before that."""
    from ml.evaluation.rollback import rollback as run

    done = run(context.env, context.home, context.line, by, reason, bundle)
    return {"bundle": done.bundle, "withdrawn": done.withdrawn, "version": done.version}
