"""Debian's Redis as a plain process: the broker between the scheduler and the workers."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from ml import files
from ml.services.processes import HOST, MARK, Processes, secret

PACKAGE = "redis-server"
_PROGRAM = "redis-server"


@dataclass(frozen=True)
class Redis:
    """One server on loopback; `folder` holds its log of writes and its password."""

    folder: Path
    port: int

    def start(self, services: Processes) -> None:
        """Start; what was queued before is read back."""
        # Each message is on disk before it is acknowledged: a restart loses none.
        rows = [
            f"bind {HOST}", f"port {self.port}", f"dir {self.folder}", "save ''",
            "appendonly yes", "appendfsync always", "set-proc-title no",
            f"requirepass {secret(self.folder / 'password')}",
        ]  # fmt: skip
        path = self.folder / "redis.conf"
        files.write_bytes(path, "\n".join([*rows, ""]).encode(), mode=0o600)
        environ = {**os.environ, MARK: str(services.home)}
        services.start("redis", [_PROGRAM, str(path)], environ)

    @property
    def address(self) -> str:
        """The broker's address; it holds the password."""
        return f"redis://:{secret(self.folder / 'password')}@{HOST}:{self.port}/0"


def installed() -> bool:
    """Whether Redis is there."""
    return shutil.which(_PROGRAM) is not None
