"""Which bundle is live on a line: a small file that promotion writes and everybody reads."""

from ml import files
from ml.bundle.load import Bundle, load_bundle
from ml.errors import BundleError
from ml.settings import Home


def live_name(home: Home, line: str) -> str | None:
    """Name of the champion of a line, or None before the first promotion."""
    path = home.live(line)
    if not path.exists():
        return None
    try:
        return str(files.read_json(path)["bundle"])
    except (ValueError, KeyError) as error:
        msg = f"{path}: not readable; promote a bundle again"
        raise BundleError(msg) from error


def live_bundle(home: Home, line: str) -> Bundle | None:
    """The verified champion of a line, or None; BundleError when it was altered."""
    name = live_name(home, line)
    return None if name is None else load_bundle(home.bundle(name))
