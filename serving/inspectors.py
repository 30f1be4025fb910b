"""The live bundles' models, loaded once and loaded again when anything on disk changes."""

import threading
from dataclasses import dataclass
from pathlib import Path

from ml.bundle import live_bundle
from ml.bundle.keys import trusted_files
from ml.bundle.live import live_name
from ml.inference.engine import Inspector
from ml.settings import Home

# (path, bytes, mtime) of the live file, of each file of its bundle and of the trusted keys.
Fingerprint = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class _Loaded:
    fingerprint: Fingerprint
    inspector: Inspector


class Inspectors:
    """One Inspector per line. Safe to call from many threads."""

    def __init__(self, home: Home, threads: int) -> None:
        self._home = home
        self._threads = threads
        self._loaded: dict[str, _Loaded] = {}
        self._lock = threading.Lock()

    def get(self, line: str) -> Inspector | None:
        """The inspector of the line's live bundle, or None before the first promotion.

        The bundle is verified again whenever one of its files, or a trusted key, has another size
        or time than when it was loaded. Raises BundleError when it is missing, altered or not
        signed; the models that were loaded before are then no longer used.
        """
        with self._lock:
            fingerprint = self._fingerprint(line)
            known = self._loaded.pop(line, None)
            if known is None or known.fingerprint != fingerprint:
                bundle = live_bundle(self._home, line)
                if bundle is None:
                    return None
                known = _Loaded(fingerprint, Inspector(bundle, self._threads))
            self._loaded[line] = known
            return known.inspector

    def _fingerprint(self, line: str) -> Fingerprint:
        name = live_name(self._home, line)
        if name is None:
            return ()
        folder = self._home.bundle(name)
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
        return tuple(
            _stamp(path) for path in (self._home.live(line), *paths, *trusted_files(self._home))
        )


def _stamp(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return str(path), status.st_size, status.st_mtime_ns
