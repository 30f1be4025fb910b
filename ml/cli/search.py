"""The search for better training settings."""

from typing import cast

import click

from ml.cli.step import Context, Result, step


@step
@click.option("--dataset", required=True, help="a dataset version of `loupe snapshot`")
@click.option("--model", required=True, type=click.Choice(["classifier", "segmenter"]))
@click.option("--trials", default=20, show_default=True, type=click.IntRange(1), help="in all")
@click.option("--objective", default="f2", show_default=True, type=click.Choice(["f2", "cost"]),
              help="F2 at its best threshold, or the cost by the line's costs")  # fmt: skip
def search(context: Context, dataset: str, model: str, trials: int, objective: str) -> Result:
    """Try other training settings on validation; several processes may search at once."""
    from ml.search.objective import Objective, shown
    from ml.search.search import search as run
    from ml.search.space import Searchable, to_toml

    chosen, judged = cast(Searchable, model), cast(Objective, objective)
    found = run(context.env, context.home, context.line, dataset, chosen, trials, judged)
    lines = to_toml(chosen, found.keys)
    click.echo(f"The best keys on validation; paste them into the line file:\n{lines}", err=True)
    return {
        "model": model,
        "objective": objective,
        "best": shown(judged, found.value),
        "own": None if found.own_value is None else shown(judged, found.own_value),
        "keys": found.keys,
        "toml": lines,
        "trials": found.trials,
    }
