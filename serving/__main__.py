"""`python -m serving`: the app on waitress."""

import argparse
import logging
import sys

import waitress

from ml.errors import LoupeError
from ml.masking import mask_output
from serving.app import create_app

_THREADS = 4
# Beyond it waitress refuses by itself, before the body fills the disk; up to it the app answers.
_BODY_LIMITS = 4


def serve(host: str, port: int) -> None:
    """Answer requests until interrupted. Raises SettingsError when the settings are wrong."""
    app = create_app()
    print(f"Loupe on http://{host}:{port}", file=sys.stderr, flush=True)
    waitress.serve(
        app,
        host=host,
        port=port,
        threads=_THREADS,
        ident=None,
        max_request_body_size=_BODY_LIMITS * app.config["MAX_CONTENT_LENGTH"],
    )


def main() -> int:
    """Parse the options and serve; 2 when the settings are wrong."""
    parser = argparse.ArgumentParser(prog="python -m serving", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    mask_output()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        serve(options.host, options.port)
    except LoupeError as error:
        print(f"loupe: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"loupe: {options.host}:{options.port}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
