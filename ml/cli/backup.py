"""`loupe backup` and `loupe restore`: copies of LOUPE_HOME."""

import json
from pathlib import Path

import click

from ml.cli.step import Result, clear_errors
from ml.errors import SettingsError
from ml.settings import Env, Home

_passphrase = click.option(
    "--passphrase-file",
    "secret",
    type=click.Path(path_type=Path),
    help="its first line encrypts the signing key; without it the key is left out",
)


@click.command()
@click.argument("to", type=click.Path(path_type=Path))
@click.option("--verify", is_flag=True, help="read all of TO first and mend what is damaged")
@_passphrase
def backup(to: Path, verify: bool, secret: Path | None) -> None:
    """Add a snapshot of LOUPE_HOME, which may be in use, to the folder TO."""
    from ml.backup import Vault
    from ml.backup import backup as run

    with clear_errors():
        env = Env.read()
        if env.results != "sqlite":
            click.echo(f"{env.results} is not in this backup: export it by its own means", err=True)
        done = run(Home.of(env), Vault(to), _first_line(secret), verify=verify)
        made = done.snapshot
    result: Result = {"snapshot": made.name, "files": len(made.copied), "bytes": made.bytes}
    result |= {"new": done.new, "tables": made.tables, "keys": made.keys, "damaged": done.damaged}
    if verify:
        result |= {"mended": done.mended, "lost": done.lost}
    print(json.dumps(result, sort_keys=True))


@click.command()
@click.argument("source", metavar="FROM", type=click.Path(path_type=Path))
@click.option("--snapshot", help="its number; default: the newest")
@click.option("--check", is_flag=True, help="only read the backup again and verify every byte")
@click.option("--replace", is_flag=True, help="also where LOUPE_HOME has something in it")
@click.option(
    "--without-lost-images", is_flag=True, help="go on where the backup has lost nothing but images"
)
@_passphrase
def restore(
    source: Path,
    snapshot: str | None,
    check: bool,
    replace: bool,
    without_lost_images: bool,
    secret: Path | None,
) -> None:
    """Fill LOUPE_HOME from the backup in the folder FROM."""
    from ml.backup import Vault
    from ml.backup import restore as run

    with clear_errors():
        vault = Vault(source)
        if check:
            made = vault.read(snapshot)
            vault.check(made)
            result: Result = {"snapshot": made.name, "files": len(made.copied), "intact": True}
        else:
            home = Home.of(Env.read())
            done = run(
                home,
                vault,
                snapshot,
                replace=replace,
                passphrase=_first_line(secret),
                without_lost_images=without_lost_images,
            )
            result = {"snapshot": done.snapshot.name, "written": done.written, "stood": done.stood}
            result |= {"at": done.snapshot.at, "keys": done.keys, "lost": done.lost}
            if done.keys == "encrypted":
                click.echo("the signing key stays encrypted: give --passphrase-file", err=True)
    print(json.dumps(result, sort_keys=True))


def _first_line(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        words = path.read_bytes().splitlines()
    except OSError as error:
        msg = f"--passphrase-file {path}: cannot be read: {error}"
        raise SettingsError(msg) from error
    if not words or not words[0]:
        msg = f"--passphrase-file {path}: its first line is empty"
        raise SettingsError(msg)
    return words[0]
