"""`loupe serve`: the API and the dashboard."""

import click

from ml.cli.step import clear_errors
from ml.errors import StackError


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True)
def serve(host: str, port: int) -> None:
    """Serve the predict API, the results API and the dashboard (as `python -m serving`)."""
    from serving.__main__ import serve as run

    with clear_errors():
        try:
            run(host, port)
        except OSError as error:
            msg = f"{host}:{port}: {error}; choose another with --port"
            raise StackError(msg) from error
