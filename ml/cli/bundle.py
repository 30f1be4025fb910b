"""Bundles and the keys that they are signed with."""

import json
import re
from datetime import UTC, datetime

import click

from ml.audit.promotions import Switch
from ml.cli.step import Result, clear_errors
from ml.errors import SettingsError
from ml.settings import Env, Home
from ml.settings.occupied import at_work


@click.group()
def bundle() -> None:
    """The bundles: verify, sign, which was live when."""


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
        home = _home()
        with at_work(home):
            made = sign_bundle(home, name)
    print(json.dumps({"bundle": made.name, "line": made.card.line, "key": made.signer}))


@bundle.command()
@click.option("--line", required=True)
@click.option("--time", required=True, help="such as 2026-05-03T02:00+02:00; UTC without a zone")
def at(line: str, time: str) -> None:
    """Which bundle was live at a time? Null before the first promotion."""
    from ml.bundle.history import champion_at

    with clear_errors():
        when = _moment(time)
        found, following = champion_at(_home(), line, when)
    result: Result = {"line": line, "time": when.isoformat(), "bundle": None, "since": None}
    result["until"] = _text(following)
    if found is None:
        click.echo(f"before the first promotion of {line}: every part was held", err=True)
    else:
        facts = {"number": found.number, "step": found.step, "by": found.by}
        result |= {"bundle": found.bundle, "since": _text(found), "reason": found.reason, **facts}
    print(json.dumps(result))


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
        home = _home()
        with at_work(home):
            old, new = run(home)
    print(json.dumps({"old": old, "new": new}))


def _moment(text: str) -> datetime:
    """A past time with a zone."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or not re.search(r"[T ]\d", text):
        msg = f"--time {text!r}: expected a day and a time, such as 2026-05-03T02:00+02:00"
        raise SettingsError(msg)
    if found.tzinfo is None:
        click.echo(f"--time {text} has no time zone: taken as UTC", err=True)
        found = found.replace(tzinfo=UTC)
    if found > datetime.now(UTC):
        msg = f"--time {text!r}: that is in the future"
        raise SettingsError(msg)
    return found


def _text(switch: Switch | None) -> str | None:
    return None if switch is None or switch.at is None else switch.at.isoformat()


def _home() -> Home:
    return Home.of(Env.read())


def _names(home: Home) -> list[str]:
    folders = (path for path in home.bundle(".").glob("*") if path.is_dir())
    return sorted(path.name for path in folders if path.name != "index" and path.name[0] != ".")


def _described(home: Home, name: str) -> Result:
    from ml.bundle import load_bundle

    found = load_bundle(home, name)
    return {"bundle": name, "line": found.card.line, "key": found.signer}
