"""Is this MLflow safe to run: known holes of its version, and who may reach it."""

import json
import re
from collections.abc import Iterable
from ipaddress import ip_address
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import psutil

# Path traversals that let a caller read or write any file of the server, with the first version
# that has none of it (PyPA's and GitHub's advisory databases).
_HOLES = {
    "CVE-2023-1177": (2, 2, 1),
    "CVE-2023-2780": (2, 3, 1),
    "CVE-2023-3765": (2, 5, 0),
    "CVE-2023-6753": (2, 9, 2),
    "CVE-2023-6831": (2, 9, 2),
    "CVE-2023-6976": (2, 9, 2),
    "CVE-2024-2928": (2, 11, 3),
    "CVE-2026-2033": (3, 8, 0),
    "CVE-2026-2614": (3, 10, 0),
}
SAFE = ".".join(map(str, max(_HOLES.values())))
_SECONDS = 5


def holes(version: str) -> list[str]:
    """The known path-traversal holes of an MLflow version, such as `2.9.1`."""
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    return [name for name, fixed in _HOLES.items() if numbers < fixed]


def reached_by(address: str) -> str:
    """Who may read and write this MLflow without a password, in words; empty when nobody else.

    An MLflow on this machine is judged by where it listens, another one by whether it answers a
    request without credentials. A file or database has no server.
    """
    place = urlsplit(address)
    if place.scheme not in ("http", "https"):
        return ""
    if not _is_loopback(place.hostname or ""):
        return "everybody who reaches it" if _answers(address) else ""
    beyond = sorted(_beyond_loopback(place.port or 80))
    return f"everybody who reaches {', '.join(beyond)}" if beyond and _answers(address) else ""


def _answers(address: str) -> bool:
    """Whether a request without credentials is served."""
    body = json.dumps({"max_results": 1}).encode()
    url = f"{address.rstrip('/')}/api/2.0/mlflow/experiments/search"
    request = Request(url, body, {"Content-Type": "application/json"}, method="POST")
    try:
        with urlopen(request, timeout=_SECONDS):
            return True
    except HTTPError as error:
        return error.code not in (401, 403)
    except OSError:
        return False  # it does not run


def _beyond_loopback(port: int) -> Iterable[str]:
    """The addresses of this machine, other than loopback, on which a port is listened to."""
    for found in psutil.net_connections(kind="tcp"):
        listens = found.status == psutil.CONN_LISTEN and found.laddr.port == port
        if listens and not ip_address(found.laddr.ip).is_loopback:
            yield f"{found.laddr.ip}:{port}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
