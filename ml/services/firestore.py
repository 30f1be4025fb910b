"""Google's Firestore emulator, where it is installed; what it holds is kept between starts."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

from ml.services.processes import HOST, MARK, Processes, end_processes, free_port

PACKAGE = "google-cloud-cli-firestore-emulator"
PROJECT = "loupe-local"
PLACE = Path("/usr/lib/google-cloud-sdk/platform/cloud-firestore-emulator")
# What a project of Google gets, too: whoever is no service account is refused.
RULES = Path(__file__).parents[2] / "deploy" / "firestore" / "firestore.rules"
_MAIN = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"


def installed() -> bool:
    """Whether the emulator and a Java are there."""
    return shutil.which("java") is not None and any(PLACE.glob("*.jar"))


@contextmanager
def running(folder: Path, memory_mb: int = 512) -> Iterator[str]:
    """An empty emulator for the time of the `with` block, whose log lies in `folder`.

    Yields its address; raises StackError when it does not start.
    """
    services = Processes(folder, folder)
    port = free_port(8200)
    try:
        Firestore(folder / "firestore", port, memory_mb).start(services)
        services.wait_for_port("firestore", port)
        yield f"{HOST}:{port}"
    finally:
        end_processes(folder)


@dataclass(frozen=True)
class Firestore:
    """One emulator on loopback; it holds its documents in memory, `save` keeps them in `folder`."""

    folder: Path
    port: int
    memory_mb: int = 512

    def start(self, services: Processes) -> None:
        """Start with the documents that were saved last."""
        jars = ":".join(map(str, sorted(PLACE.glob("*.jar"))))
        command = ["java", f"-Xmx{self.memory_mb}m", "-cp", jars, _MAIN, "start"]
        command += ["--host", HOST, "--port", str(self.port), "--rules", str(RULES)]
        saved = self._saved()
        if saved is not None:
            command += ["--seed_from_export", str(saved)]
        environ = {**os.environ, MARK: str(services.home)}
        services.start("firestore", command, environ)

    def save(self) -> None:
        """Write all documents to the folder, whole or not at all; OSError when it does not answer.

        The emulator's own `--export-on-exit` does nothing when it is signalled.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        place = f"{HOST}:{self.port}/emulator/v1/projects/{PROJECT}:export"
        body = {
            "database": f"projects/{PROJECT}/databases/(default)",
            "export_directory": str(self.folder),
            "export_name": "fresh",
        }
        shutil.rmtree(self.folder / "fresh", ignore_errors=True)
        request = Request(f"http://{place}", json.dumps(body).encode(), method="POST")
        request.add_header("Content-Type", "application/json")
        with urlopen(request, timeout=60):
            pass
        shutil.rmtree(self.folder / "saved", ignore_errors=True)
        (self.folder / "fresh").rename(self.folder / "saved")

    def _saved(self) -> Path | None:
        found = sorted((self.folder / "saved").glob("*.overall_export_metadata"))
        return found[0] if found else None
