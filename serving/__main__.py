"""`python -m serving`: the app behind waitress."""

import argparse
import logging

import waitress

from serving.app import create_app


def run(host: str, port: int) -> None:
    """Serve until interrupted."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    waitress.serve(create_app(), host=host, port=port, threads=6)


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m serving", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", default=8000, type=int)
    options = parser.parse_args()
    run(options.host, options.port)


if __name__ == "__main__":
    main()
