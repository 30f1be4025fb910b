"""Google's Firestore emulator, where it is installed; what it holds is kept between starts."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

from ml.services.processes import HOST, MARK, Processes

PACKAGE = "google-cloud-cli-firestore-emulator"
PROJECT = "loupe-local"
_JARS = Path("/usr/lib/google-cloud-sdk/platform/cloud-firestore-emulator")
_MAIN = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"


def installed() -> bool:
    """Whether the emulator and a Java are there."""
    return shutil.which("java") is not None and any(_JARS.glob("*.jar"))


@dataclass(frozen=True)
class Firestore:
    """One emulator on loopback; it holds its documents in memory, `save` keeps them in `folder`."""

    folder: Path
    port: int

    def start(self, services: Processes) -> None:
        """Start with the documents that were saved last."""
        jars = ":".join(map(str, sorted(_JARS.glob("*.jar"))))
        command = ["java", "-Xmx512m", "-cp", jars, _MAIN, "start"]
        command += ["--host", HOST, "--port", str(self.port)]
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
