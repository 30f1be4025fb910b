"""What every step has in common: its line, its home, one JSON result, clear errors."""

import functools
import getpass
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ml.data.upgrade import ensure_current
from ml.errors import LoupeError, SettingsError
from ml.files import disk_is_full, is_forbidden, storage_is_away
from ml.masking import print_result
from ml.settings import Env, Home, LineConfig, load_line
from ml.settings.occupied import at_work

Result = dict[str, Any]

_MORE_MEMORY = "\nlower the line's `batch` or LOUPE_THREADS, or give it more, and run it again"
_MORE_SPACE = "\nfree some space in LOUPE_HOME and run the same command again"
_MORE_RIGHTS = "\nlet the user that Loupe runs as read and write there, and run it again"

BAD_INPUT = 2
TEMPORARY = 75  # EX_TEMPFAIL of sysexits.h


@dataclass(frozen=True)
class Context:
    """What a step works on."""

    env: Env
    home: Home
    line: LineConfig


def step(function: Callable[..., Result | None]) -> click.Command:
    """Make a command of a function `(context, **options) -> result`; adds `--line`.

    The result is printed as one JSON line on stdout; None is for a process that only assists
    another, which prints it. A LoupeError becomes one message and exit
    status 2, or 75 where a retry may cure it.
    """

    @click.option("--line", "line_name", required=True, help="line name, or path of a line file")
    @functools.wraps(function)
    def command(line_name: str, **options: Any) -> None:
        with clear_errors():
            env = Env.read()
            context = Context(env, Home.of(env), load_line(line_file(env, line_name)))
            with at_work(context.home):
                ensure_current(context.home)
                result = function(context, **options)
        if result is not None:
            print_result(result)

    name = function.__name__.replace("_", "-")
    return click.command(name, help=function.__doc__)(command)


class clear_errors:  # noqa: N801 - used as `with clear_errors():`
    """Turn a LoupeError into one message on stderr and exit status 2, or 75 if it is temporary.

    A full disk, a storage that does not answer and too little memory are temporary, too: every step
    can be run again. A file that may not be read or written stays so until a person changes that.
    """

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, LoupeError):
            click.echo(f"loupe: {error}", err=True)
            sys.exit(TEMPORARY if error.temporary else BAD_INPUT)
        if isinstance(error, MemoryError):
            click.echo(f"loupe: not enough memory: {error}{_MORE_MEMORY}", err=True)
            sys.exit(TEMPORARY)
        if isinstance(error, Exception) and disk_is_full(error):
            click.echo(f"loupe: the disk is full: {error}{_MORE_SPACE}", err=True)
            sys.exit(TEMPORARY)
        if isinstance(error, Exception) and storage_is_away(error):
            click.echo(f"loupe: the storage did not answer: {error}; run it again", err=True)
            sys.exit(TEMPORARY)
        if isinstance(error, Exception) and is_forbidden(error):
            click.echo(f"loupe: not permitted: {error}{_MORE_RIGHTS}", err=True)
            sys.exit(BAD_INPUT)


def current_user() -> str:
    """The user of the terminal; click.UsageError where it has no name, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:
        msg = "the system does not know who you are; give your name with --by"
        raise click.UsageError(msg) from error


def line_file(env: Env, name: str) -> Path:
    if name.endswith(".toml"):
        return Path(name)
    path = env.lines / f"{name}.toml"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in env.lines.glob("*.toml"))) or "none"
        msg = f"no line {name!r} in {env.lines}; there are: {known}"
        raise SettingsError(msg)
    return path
