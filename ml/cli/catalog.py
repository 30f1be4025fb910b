"""`loupe catalog`: the tables of a line."""

import click

from ml.cli.step import Context, Result, step


@click.group()
def catalog() -> None:
    """The tables of a line: repair."""


@step
def repair(context: Context) -> Result:
    """Take files that a power cut damaged out of the tables; say what to run again."""
    from ml.data.repair import repair as run

    done = run(context.home, context.line.name)
    return {"line": context.line.name, "files": done.files, "days": done.days, "run": done.run}


catalog.add_command(repair)
