"""`loupe serve`: the API and the dashboard."""

import click


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True)
def serve(host: str, port: int) -> None:
    """Serve the API and the dashboard."""
    # The serving room lies beside ml, and only this command needs it.
    from serving.__main__ import run

    run(host, port)
