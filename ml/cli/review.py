"""Steps about people's verdicts and the ledger."""

import json

import click

from ml.cli.step import Context, Result, clear_errors, step
from ml.results import open_results


@step
def review(context: Context) -> Result:
    """Turn people's verdicts into labels, with who and when."""
    from ml.review.verdicts import review as run

    done = run(context.home, context.line.name, open_results(context.env, context.home))
    return {"line": context.line.name, "verdicts": done.verdicts, "labels": done.labels}


@click.group()
def audit() -> None:
    """The ledger of what was decided."""


@audit.command()
@click.option("--line", required=True)
@click.option("--day", help="YYYY-MM-DD, or `promotions`; default: every ledger of the line")
def verify(line: str, day: str | None) -> None:
    """Check that no ledger line was altered, removed or re-ordered."""
    from ml.audit.ledger import verify as run
    from ml.errors import LedgerError
    from ml.settings import Env, Home

    with clear_errors():
        folder = Home.of(Env.read()).ledger(line, "x").parent
        paths = sorted(folder.glob(f"{day or '*'}.jsonl"))
        if not paths:
            msg = f"{folder}: no ledger of {day or 'any day'}"
            raise LedgerError(msg)
        entries = sum(run(path) for path in paths)
    print(json.dumps({"days": len(paths), "entries": entries, "intact": True}))
