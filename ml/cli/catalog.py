"""`loupe catalog`: the tables of a line."""

import click

from ml.cli.step import Context, Result, step


@click.group()
def catalog() -> None:
    """The tables of a line: repair, pack."""


@step
def repair(context: Context) -> Result:
    """Take files that a power cut damaged out of the tables; say what to run again."""
    from ml.data.repair import repair as run

    done = run(context.home, context.line.name)
    return {"line": context.line.name, "files": done.files, "days": done.days, "run": done.run}


@step
def pack(context: Context) -> Result:
    """Put the small files of all nights together; `publish` does so for its own night."""
    from ml.data import predicted
    from ml.progress import track

    line = context.line.name
    days = predicted.days(context.home, line)
    for day in track(days, "pack nights", len(days)):
        predicted.pack_day(context.home, line, day)
    return {"line": line, "days": len(days)}


catalog.add_command(repair)
catalog.add_command(pack)
