"""The `loupe` command: finds each command's module only when it is called."""

import atexit
import importlib
import io
import logging
import os
import sys
import traceback
from typing import Any, NoReturn

import click

from ml.masking import mask_output

INTERRUPTED = 130  # 128 + SIGINT, as a shell has it

# command → module of this package that defines it under the same name (dashes as underscores)
_COMMANDS = {
    "ingest": "data",
    "validate": "data",
    "snapshot": "data",
    "quarantine": "quarantine",
    "catalog": "catalog",
    "leaks": "data",
    "demo-images": "data",
    "train": "train",
    "search": "search",
    "evaluate": "evaluate",
    "gate": "evaluate",
    "promote": "evaluate",
    "reject": "evaluate",
    "rollback": "evaluate",
    "shards": "night",
    "predict": "night",
    "speed": "night",
    "shadow": "night",
    "publish": "night",
    "reconcile": "night",
    "late": "night",
    "drift": "monitor",
    "review": "review",
    "audit": "review",
    "bundle": "bundle",
    "key": "bundle",
    "backup": "backup",
    "restore": "backup",
    "line": "lines",
    "doctor": "doctor",
    "demo": "demo",
    "stack": "stack",
    "serve": "serve",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"ml.cli.{_COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            # click would say "Aborted!" and end with 1, as after a bug.
            click.echo("loupe: interrupted; run the same command again", err=True)
            sys.exit(INTERRUPTED)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="loupe-inspection")
def main() -> None:
    """Loupe keeps the inspection models of a factory healthy."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("ml").setLevel(logging.INFO)


def run() -> NoReturn:
    """The `loupe` process: `main`, and an end that native libraries cannot spoil.

    Threads of the libraries below pandas and Delta Lake abort some processes in fifty while the
    interpreter is torn down, long after the result is written. So it is not torn down.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What a terminal's character set lacks is escaped there, as on stderr.
        sys.stdout.reconfigure(errors="backslashreplace")
    mask_output()
    # OpenMP's threads otherwise spin while they wait: one other busy process then slows training
    # many times. Read when torch is loaded, and passed on to processes of its own.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception:  # noqa: BLE001 - the last boundary: said on the masked stream
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
