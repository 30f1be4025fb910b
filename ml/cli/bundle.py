"""Bundles and the keys that they are signed with."""

import json

import click

from ml.cli.step import Result, clear_errors
from ml.settings import Env, Home


@click.group()
def bundle() -> None:
    """The bundles: verify, sign."""


@bundle.command()
@click.option("--bundle", "name", help="its name; default: every bundle of this installation")
def verify(name: str | None) -> None:
    """Check every byte of a bundle and who signed it; exit status 2 when one is refused."""
    from ml.errors import BundleError

    with clear_errors():
        home = _home()
        good, refused = [], []
        for each in [name] if name else _names(home):
            try:
                good.append(_described(home, each))
            except BundleError as error:
                refused.append(str(error))
        if refused:
            raise BundleError("\n".join(refused))
    print(json.dumps({"bundles": good}))


@bundle.command()
@click.option("--bundle", "name", required=True, help="its name: the name of its folder")
def sign(name: str) -> None:
    """Vouch for a bundle: sign it with this installation's key, if its files are as sealed."""
    from ml.bundle import sign_bundle

    with clear_errors():
        made = sign_bundle(_home(), name)
    print(json.dumps({"bundle": made.name, "line": made.card.line, "key": made.signer}))


@click.group()
def key() -> None:
    """The keys that sign bundles."""


@key.command(name="list")
def list_keys() -> None:
    """The trusted public keys, and whether this installation signs with one of them."""
    from ml.bundle.keys import key_id, signing_key, trusted_keys

    with clear_errors():
        home = _home()
        signs = key_id(signing_key(home).public_key()) if home.signing_key.exists() else None
        trusted = sorted(trusted_keys(home))
    print(json.dumps({"signing": signs, "trusted": trusted, "folder": str(home.trusted_keys)}))


@key.command()
def rotate() -> None:
    """Make a new signing key. The old public key stays trusted until its file is removed."""
    from ml.bundle.keys import rotate as run

    with clear_errors():
        old, new = run(_home())
    print(json.dumps({"old": old, "new": new}))


def _home() -> Home:
    return Home.of(Env.read())


def _names(home: Home) -> list[str]:
    folders = (path for path in home.bundle(".").glob("*") if path.is_dir())
    return sorted(path.name for path in folders if path.name != "index" and path.name[0] != ".")


def _described(home: Home, name: str) -> Result:
    from ml.bundle import load_bundle

    found = load_bundle(home, name)
    return {"bundle": name, "line": found.card.line, "key": found.signer}
