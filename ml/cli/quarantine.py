"""`loupe quarantine`: the images that were not accepted."""

from collections.abc import Callable
from typing import Any

import click

from ml.cli.step import Context, Result, current_user, step


def _choice(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which images."""
    for option in (
        click.option("--object", "name", help="one object, by its key in the source"),
        click.option("--reason", help="such as `brightness`; see `list`"),
        click.option("--day", help="YYYY-MM-DD, when the part was captured"),
    ):
        function = option(function)
    return function


@click.group()
def quarantine() -> None:
    """The images that were not accepted: list, replay, drop."""


@step
@_choice
@click.option("--limit", default=1000, show_default=True, help="images to name, at most")
def list_(
    context: Context, day: str | None, reason: str | None, name: str | None, limit: int
) -> Result:
    """Name the quarantined images, with the reason."""
    from ml.data.quarantine import by_reason, quarantined

    rows = quarantined(context.home, context.line.name, _chosen(day, reason, name))
    shown = ("object", "version", "sha256", "day", "part", "reason", "batch")
    return {
        "line": context.line.name,
        "images": len(rows),
        "reasons": by_reason(rows),
        "items": [{key: row[key] for key in shown} for row in rows[:limit]],
    }


@step
@_choice
@click.option("--source", help="folder or s3:// address; default: the line's own")
def replay(
    context: Context, day: str | None, reason: str | None, name: str | None, source: str | None
) -> Result:
    """Read quarantined images again and accept those that pass by now."""
    from ml.data.quarantine import replay as run

    done = run(
        context.home,
        context.line,
        _chosen(day, reason, name),
        source=source or context.line.source.uri,
        threads=context.env.threads,
    )
    outcome = done.outcome
    return {
        "batch": outcome.batch,
        "tried": outcome.listed,
        "accepted": outcome.accepted,
        "duplicate": outcome.duplicate,
        "quarantined": outcome.quarantined,
        "reasons": outcome.reasons,
        "gone": done.gone,
        "report": str(outcome.report or ""),
    }


@step
@_choice
@click.option(
    "--unrecorded",
    is_flag=True,
    help="only those that were dropped before and of which the ledger does not say who did it",
)
@click.option("--by", default=current_user, help="who drops them; default: the user")
@click.option("--because", required=True, help="why; it goes into the ledger")
def drop(
    context: Context,
    day: str | None,
    reason: str | None,
    name: str | None,
    unrecorded: bool,
    by: str,
    because: str,
) -> Result:
    """Leave quarantined images out for good; the ledger keeps who and why."""
    from ml.data.quarantine import Choice, by_reason, record_drops
    from ml.data.quarantine import drop as run

    choice = _chosen(day, reason, name)
    if unrecorded and choice != Choice():
        msg = "--unrecorded is all of them: leave out --object, --day and --reason"
        raise click.UsageError(msg)
    if unrecorded:
        rows = record_drops(context.home, context.line.name, by=by, because=because)
    else:
        rows = run(context.home, context.line, choice, by=by, because=because)
    return {"line": context.line.name, "dropped": len(rows), "reasons": by_reason(rows)}


quarantine.add_command(list_, "list")
quarantine.add_command(replay)
quarantine.add_command(drop)


def _chosen(day: str | None, reason: str | None, name: str | None) -> Any:
    from ml.data.day import check_day
    from ml.data.quarantine import Choice

    return Choice(check_day(day) if day else None, reason, name)
