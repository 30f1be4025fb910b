"""The loaded champion of each line; loaded again when another one is promoted."""

import threading

from ml.bundle import load_bundle
from ml.bundle.live import live_name
from ml.inference.engine import Inspector
from ml.settings import Home


class Inspectors:
    """Thread-safe cache of inspectors, one per line."""

    def __init__(self, home: Home, threads: int) -> None:
        self._home = home
        self._threads = threads
        self._lock = threading.Lock()
        self._loaded: dict[str, Inspector] = {}

    def of(self, line: str) -> Inspector | None:
        """The inspector of a line's champion; None before the first promotion.

        Raises BundleError when the champion is missing or altered.
        """
        name = live_name(self._home, line)
        if name is None:
            return None
        with self._lock:
            found = self._loaded.get(line)
            if found is None or found.bundle.name != name:
                bundle = load_bundle(self._home.bundle(name))
                found = self._loaded[line] = Inspector(bundle, self._threads)
            return found
