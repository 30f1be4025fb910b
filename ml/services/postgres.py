"""Debian's PostgreSQL as a plain process with a data folder of its own."""

import os
import pwd
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from ml.errors import StackError
from ml.services.processes import HOST, Processes, secret

PACKAGE = "postgresql"
_USER = "loupe"
_DEBIAN = Path("/usr/lib/postgresql")
_SECONDS_TO_STOP = 20


@dataclass(frozen=True)
class Postgres:
    """One server on loopback. `folder` holds its data and the password of its only user."""

    folder: Path
    port: int

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def start(self, services: Processes) -> None:
        """Make the data folder on first use, then start; an earlier server of it is ended."""
        self.stop()
        self._make(services)
        command = [_program("postgres"), "-D", str(self._data), "-p", str(self.port)]
        settings = {
            "listen_addresses": HOST,
            "unix_socket_directories": "",
            # A few dozen services and steps, each with a few connections.
            "max_connections": "200",
        }
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        services.start("postgres", command, _plain(), user=_server_user())

    def make_databases(self, services: Processes, names: list[str]) -> None:
        """Wait until the server takes connections; make the databases that are not there."""
        environ = {**_plain(), "PGPASSWORD": secret(self.folder / "password")}
        to = ["-h", HOST, "-p", str(self.port)]
        services.wait_for_port("postgres", self.port)
        while subprocess.run([_program("pg_isready"), "-q", *to], check=False).returncode == 1:
            time.sleep(0.2)  # it recovers from a crash
        listed = [_program("psql"), *to, "-U", _USER, "-d", "postgres", "-Atc"]
        rows = subprocess.run(
            [*listed, "SELECT datname FROM pg_database"],
            env=environ, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if rows.returncode:
            msg = f"postgres on port {self.port} refuses its own user: {rows.stderr.strip()}"
            raise StackError(msg)
        for name in sorted(set(names) - set(rows.stdout.split())):
            services.run("createdb", [_program("createdb"), *to, "-U", _USER, name], environ)

    def address(self, database: str) -> str:
        """The SQLAlchemy address of a database; it holds the password."""
        password = secret(self.folder / "password")
        return f"postgresql+psycopg2://{_USER}:{password}@{HOST}:{self.port}/{database}"

    def stop(self) -> None:
        """End the server that runs on this folder, if one does: connections are cut, data kept."""
        try:
            pid = int((self._data / "postmaster.pid").read_text().split()[0])
            # The id may be another's by now: the machine was started again since.
            if Path(f"/proc/{pid}/exe").readlink().name != "postgres":
                return
            os.kill(pid, signal.SIGINT)  # Postgres's fast shutdown
        except (OSError, ValueError, IndexError):
            return
        deadline = time.monotonic() + _SECONDS_TO_STOP
        while (self._data / "postmaster.pid").exists():
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGQUIT)  # at once; the next start recovers
                return
            time.sleep(0.1)

    def _make(self, services: Processes) -> None:
        if (self._data / "PG_VERSION").exists():
            return
        password = secret(self.folder / "password")
        fresh = self.folder / "fresh"
        shutil.rmtree(fresh, ignore_errors=True)  # of an initdb that was killed
        fresh.mkdir(parents=True)
        handed = self.folder / "handed"
        handed.touch(mode=0o600)
        handed.write_text(password)
        user = _server_user()
        if user is not None:
            _hand_over(user, self.folder, fresh, handed)
        command = [_program("initdb"), "-D", str(fresh), "-U", _USER, "--pwfile", str(handed)]
        command += ["--auth=scram-sha-256", "--encoding=UTF8", "--no-locale"]
        try:
            services.run("initdb", command, _plain(), user=user)
        finally:
            handed.unlink()
        fresh.rename(self._data)


def installed() -> bool:
    """Whether PostgreSQL's server is there."""
    return bool(_program("initdb"))


def _program(name: str) -> str:
    """The path of one of PostgreSQL's programs, of the newest version; empty without one."""
    versions = sorted(_DEBIAN.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    return str(versions[-1]) if versions else shutil.which(name) or ""


def _server_user() -> str | None:
    """PostgreSQL refuses to run as root: its own user then runs it."""
    return "postgres" if os.geteuid() == 0 else None


def _hand_over(user: str, folder: Path, *paths: Path) -> None:
    """Give paths to the server's user; raises StackError when it cannot even get there."""
    closed = [one for one in folder.absolute().parents if not one.stat().st_mode & 0o001]
    if closed:
        msg = (
            f"{closed[0]} is closed to the user `{user}`, which runs PostgreSQL when you are root; "
            f"set LOUPE_HOME to a folder below open ones, or run as an ordinary user"
        )
        raise StackError(msg)
    entry = pwd.getpwnam(user)
    for path in paths:
        os.chown(path, entry.pw_uid, entry.pw_gid)


def _plain() -> dict[str, str]:
    """PostgreSQL's own variables (PGPORT, PGDATA) belong to other servers."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}
