"""Which bundle is live on a line, and which waits to be: small files that everybody reads."""

from typing import Any

from ml import files
from ml.bundle.load import Bundle, load_bundle
from ml.errors import BundleError
from ml.settings import Home


def live_record(home: Home, line: str) -> dict[str, Any] | None:
    """`{line, bundle, previous, number}` of the last promotion, or None before the first.

    Raises BundleError when the file does not say which bundle is live.
    """
    path = home.live(line)
    if not path.exists():
        return None
    try:
        record: dict[str, Any] = files.read_json(path)
        str(record["bundle"])
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{path}: not readable; promote a bundle again"
        raise BundleError(msg) from error
    return record


def live_name(home: Home, line: str) -> str | None:
    """Name of the champion of a line, or None before the first promotion."""
    record = live_record(home, line)
    return None if record is None else str(record["bundle"])


def live_bundle(home: Home, line: str) -> Bundle | None:
    """The verified champion of a line, or None; BundleError when altered or of another line."""
    name = live_name(home, line)
    return None if name is None else load_bundle(home, name, line)


def waiting_name(home: Home, line: str) -> str | None:
    """Name of the challenger that the gate let through last, or None.

    None also when it was promoted or rejected since. Raises BundleError when the file does not
    say which it is.
    """
    path = home.waiting(line)
    try:
        name = files.read_json(path)["bundle"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{path}: not readable; run `loupe gate` again"
        raise BundleError(msg) from error
    if not isinstance(name, str):
        msg = f"{path}: names no bundle; run `loupe gate` again"
        raise BundleError(msg)
    return name


def wait(home: Home, line: str, bundle: str) -> None:
    """Let a bundle wait for its promotion, in the place of the one that waited before.

    Here and in `stop_waiting` the caller holds the lock of the line's promotions.
    """
    files.write_json(home.waiting(line), {"line": line, "bundle": bundle})


def stop_waiting(home: Home, line: str, bundle: str) -> None:
    """A bundle that was promoted, refused or rejected waits no more; another goes on waiting."""
    try:
        waits = waiting_name(home, line) == bundle
    except BundleError:
        waits = True  # nobody knows who does
    if waits:
        home.waiting(line).unlink(missing_ok=True)
