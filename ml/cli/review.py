"""Steps about people's verdicts and the ledger."""

import json

import click

from ml.cli.step import Context, Result, clear_errors, step
from ml.results import open_results


@step
def review(context: Context) -> Result:
    """Turn people's verdicts into labels, with who and when."""
    from ml.review.verdicts import review as run

    line, store = context.line, open_results(context.env, context.home)
    done = run(context.home, line.name, store, line.source.layout.ok)
    return {"line": context.line.name, "verdicts": done.verdicts, "labels": done.labels}


@click.group()
def audit() -> None:
    """The ledger of what was decided."""


@audit.command()
@click.option("--line", required=True)
@click.option("--day", help="YYYY-MM-DD, `promotions` or `quarantine`; default: every ledger")
@click.option(
    "--since",
    metavar="DAY",
    help="YYYY-MM-DD: leave out the nights before it, but no ledger that is not of a night",
)
def verify(line: str, day: str | None, since: str | None) -> None:
    """Check that no ledger line was altered, removed or re-ordered, nor what it records."""
    from ml.audit.ledger import verify as run
    from ml.data.day import check_day
    from ml.data.recorded import check_drops
    from ml.errors import LedgerError
    from ml.evaluation.recorded import check_promotions
    from ml.inference.recorded import check_recorded
    from ml.review.recorded import check_reviews
    from ml.settings import Env, Home

    if day and since:
        msg = "--day and --since: give one of them"
        raise click.UsageError(msg)
    with clear_errors():
        env = Env.read()
        home = Home.of(env)
        first = check_day(since) if since else ""
        folder = home.ledgers(line)
        # A name is no day, and comes after all of them.
        paths = [p for p in sorted(folder.glob(f"{day or '*'}.jsonl")) if p.stem >= first]
        if not paths:
            msg = f"{folder}: no ledger of {day or 'any day'}{f' since {first}' if first else ''}"
            raise LedgerError(msg)
        entries = sum(run(path) for path in paths)
        store = open_results(env, home)
        check_recorded(home, store, line, day, first)
        if day in (None, "promotions"):
            check_promotions(home, store, line)
        if day in (None, "quarantine"):
            check_drops(home, line)
        found = None if day else check_reviews(home, store, line)
    days = [path for path in paths if path.stem[0].isdigit()]
    result = {"days": len(days), "entries": entries, "found_reviews": found, "intact": True}
    print(json.dumps(result))
