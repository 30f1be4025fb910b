"""`loupe`: every step of the pipeline as a command with one JSON result.

One thin module per command group; heavy libraries are imported inside the commands, so
`loupe --help` answers at once. Start reading at `step.py`.
"""

from ml.cli.main import main

__all__ = ["main"]
