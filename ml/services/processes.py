"""The processes of one stack: started in their own session, logged, found again, ended."""

import contextlib
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

import psutil

from ml import files
from ml.errors import StackError

# Every process of a stack carries this variable, so that exactly these can be ended, also the
# children of a stack that was killed.
MARK = "LOUPE_STACK"

HOST = "127.0.0.1"
_SECONDS_TO_START = 180
_SECONDS_TO_STOP = 12
# A service that cannot stay up is not started more often than this.
_SECONDS_BETWEEN_STARTS = 5


@dataclass
class _Service:
    command: list[str]
    environ: Mapping[str, str]
    user: str | None
    process: subprocess.Popen[bytes]
    started: float


@dataclass
class Processes:
    """The services of one home; their logs are `logs/<name>.log` in it."""

    home: Path
    folder: Path
    _services: dict[str, _Service] = field(default_factory=dict)

    def log(self, name: str) -> Path:
        """The log file of a service; its folder is made."""
        path = self.home / "logs" / f"{name}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def start(
        self, name: str, command: list[str], environ: Mapping[str, str], user: str | None = None
    ) -> None:
        """Start a service in the project's folder, as `user` where one is named."""
        process = self._spawn(name, command, environ, user)
        self._services[name] = _Service(command, environ, user, process, time.monotonic())

    def run(
        self, name: str, command: list[str], environ: Mapping[str, str], user: str | None = None
    ) -> None:
        """Run a command to its end; raises StackError naming its log when it fails."""
        status = self._spawn(name, command, environ, user).wait()
        if status:
            msg = f"{name} ended with status {status}; see {self.log(name)}"
            raise StackError(msg)

    def pids(self) -> dict[str, int]:
        """The process id of every service."""
        return {name: service.process.pid for name, service in self._services.items()}

    def revive(self) -> dict[str, int]:
        """Start again what has ended; returns the exit status by name."""
        ended = {}
        for name, service in list(self._services.items()):
            status = service.process.poll()
            if status is None or time.monotonic() - service.started < _SECONDS_BETWEEN_STARTS:
                continue
            ended[name] = status
            self.start(name, service.command, service.environ, service.user)
        return ended

    def wait_for_port(self, name: str, port: int) -> None:
        """Wait until a service listens; raises StackError naming its log when it does not."""
        deadline = time.monotonic() + _SECONDS_TO_START
        while time.monotonic() < deadline and self._services[name].process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
                return
            time.sleep(0.1)
        msg = f"{name} does not listen on {HOST}:{port}; see {self.log(name)}"
        raise StackError(msg)

    def wait_for_answer(self, name: str, url: str) -> None:
        """Wait until a service answers 200; raises StackError naming its log when it does not."""
        deadline = time.monotonic() + _SECONDS_TO_START
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
            time.sleep(1)
        msg = f"{name} did not answer at {url} within {_SECONDS_TO_START} s; see {self.log(name)}"
        raise StackError(msg)

    def _spawn(
        self, name: str, command: list[str], environ: Mapping[str, str], user: str | None
    ) -> subprocess.Popen[bytes]:
        with self.log(name).open("ab") as output:
            return subprocess.Popen(
                command,
                env=environ,
                # Another user may not enter the project's folder.
                cwd=self.folder if user is None else "/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Ctrl-C is for the command, which then ends the services in order.
                start_new_session=True,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
            )


def end_processes(home: Path, spare: Collection[int] = ()) -> int:
    """End every process of this home's stack and their children, but those of the ids `spare`.

    Returns how many there were.
    """
    mine = [
        process
        for process in psutil.process_iter()
        if process.pid not in spare and _belongs_to(process, home)
    ]
    for process in mine:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(mine, timeout=_SECONDS_TO_STOP)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=_SECONDS_TO_STOP)
    return len(mine)


def free_port(wanted: int) -> int:
    """`wanted`, or the next port that nobody listens on."""
    for port in range(wanted, wanted + 200):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    msg = f"no free port from {wanted} to {wanted + 199} on {HOST}"
    raise StackError(msg)


def secret(path: Path) -> str:
    """The random secret in a file, which is made on first use; only its owner may read it."""
    if not path.exists():
        files.write_bytes(path, secrets.token_hex(32).encode(), mode=0o600)
    return path.read_text()


def _belongs_to(process: psutil.Process, home: Path) -> bool:
    try:
        return bool(process.pid != os.getpid() and process.environ().get(MARK) == str(home))
    except (psutil.Error, OSError):
        return False
