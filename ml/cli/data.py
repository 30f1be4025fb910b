"""Steps on data: demo images, ingest, validate, snapshot."""

from collections import Counter
from pathlib import Path

import click

from ml.cli.step import Context, Result, step


@step
@click.option("--into", type=click.Path(path_type=Path), help="folder; default: the line's source")
def demo_images(context: Context, into: Path | None) -> Result:
    """Make the images of the demo line (deterministic)."""
    from ml.data.synthetic import write_demo_images

    folder = into or Path(context.line.source.uri)
    written, kept = write_demo_images(folder, context.line.seed)
    return {"folder": str(folder), "written": written, "kept": kept}


def _until(day: str | None) -> str | None:
    from ml.data.day import check_day

    # A DAG's empty parameter comes as an empty option.
    return check_day(day) if day else None


@step
@click.option("--source", help="folder or s3:// address; default: the line's own")
@click.option("--until", help="leave images captured after this day for a later ingest")
@click.option("--state", help="watermark of the last ingest, as JSON; default: the home's")
@click.option("--full", is_flag=True, help="list everything, whatever the watermark says")
def ingest(
    context: Context, source: str | None, until: str | None, state: str | None, full: bool
) -> Result:
    """List new images, hash, decode and measure them."""
    from ml.data.ingest import ingest as run
    from ml.data.listing import Watermark, read_mark, write_mark

    line = context.line.name
    mark = read_mark(context.home, line) if state is None else Watermark.from_json(state)
    batch = run(
        context.home,
        context.line,
        source=source or context.line.source.uri,
        until=_until(until),
        threads=context.env.threads,
        mark=None if full else mark,
    )
    if state is None and batch.mark is not None:
        write_mark(context.home, line, batch.mark)
    after = batch.mark or mark
    unchanged = batch.listed - batch.new - batch.held
    return {
        "batch": batch.name,
        "listed": batch.listed,
        "new": batch.new,
        "unchanged": unchanged,
        "held": batch.held,
        "left_out": batch.left_out,
        "unrecognised": batch.unrecognised,
        "state": after.as_json() if after else {},
    }


@step
@click.option("--batch", default="", help="a batch of `loupe ingest`; nothing when empty")
def validate(context: Context, batch: str) -> Result:
    """Check a batch with Great Expectations; accept, quarantine or mark duplicate."""
    from ml.data.validate import validate as run

    outcome = run(context.home, context.line, batch)
    return {
        "batch": outcome.batch,
        "listed": outcome.listed,
        "accepted": outcome.accepted,
        "quarantined": outcome.quarantined,
        "duplicate": outcome.duplicate,
        "reasons": outcome.reasons,
        "days": outcome.days,
        "report": str(outcome.report or ""),
    }


@step
@click.option("--until", help="only images captured up to and with this day")
def snapshot(context: Context, until: str | None) -> Result:
    """Make a dataset version, split by group; groups that show the same part are joined."""
    from ml.data.snapshot import snapshot as run

    made = run(context.home, context.line, _until(until), threads=context.env.threads)
    by_split = {
        name: sum(n for key, n in made.counts.items() if key.startswith(f"{name}."))
        for name in ("train", "validation", "test")
    }
    return {
        "dataset": made.dataset,
        "images": made.images,
        "groups": made.groups,
        "joined": len(made.joined),
        "leaks": 0,
        **by_split,
    }


@step
@click.option(
    "--split",
    "table",
    type=click.Path(path_type=Path),
    required=True,
    help="a CSV with a `path` column, such as the source's manifest",
)
@click.option(
    "--column",
    default="split",
    show_default=True,
    help="its column with the split; what follows a `/` does not count",
)
@click.option("--source", help="folder or s3:// address; default: the line's own")
def leaks(context: Context, table: Path, column: str, source: str | None) -> Result:
    """Show which images of one part an existing split puts on both sides; stops nothing."""
    from ml.data.given_split import confirmed, leaks_of_split
    from ml.data.leak import describe

    address = source or context.line.source.uri
    rows, found = leaks_of_split(context.line, address, table, column, threads=context.env.threads)
    for leak in found:
        click.echo(describe(leak), err=True)
    kinds = Counter(leak.kind for leak in found)
    return {
        "line": context.line.name,
        "images": len(rows),
        "splits": Counter(row["split"] for row in rows),
        "pairs": {kind: kinds[kind] for kind in ("group", "sha256", "copy")},
        "copies_within_group": sum(1 for _ in confirmed(rows, found)),
        "leaks": [leak.as_row() for leak in found],
    }
