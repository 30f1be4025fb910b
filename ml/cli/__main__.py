"""`python -m ml.cli` is `loupe`."""

from ml.cli.main import run

run()
