"""A small client of Airflow's REST API (v2): start runs, follow them, read their results."""

import json
import time
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

from ml.errors import StackError

_TIMEOUT = 30
# The SQLite of an embedded Airflow answers so when one writer lets another wait for too long.
_BUSY = "Database error"
_TRIES, _SECONDS_BETWEEN_TRIES = 5, 2.0


class Airflow:
    """Airflow at an address; on loopback everybody is an administrator."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._token = ""

    def login(self) -> None:
        """Fetch a token; raises StackError when Airflow does not give one."""
        self._token = self._request("GET", "/auth/token")["access_token"]

    def ensure_pool(self, name: str, slots: int) -> None:
        """Make a pool; one of that name that is there already stays as it is."""
        body = {"name": name, "slots": slots, "description": "heavy steps of Loupe"}
        self._api("POST", "/pools", body, allowed=(409,))

    def has_dag(self, dag: str) -> bool:
        """Whether Airflow has read the DAG's file."""
        return self._api("GET", f"/dags/{dag}", allowed=(404,)) is not None

    def unpause(self, dag: str) -> None:
        """Let a DAG run."""
        self._api("PATCH", f"/dags/{dag}", {"is_paused": False})

    def run(self, dag: str, run: str) -> dict[str, Any] | None:
        """One DAG run, or None."""
        found: dict[str, Any] | None = self._api("GET", _run_path(dag, run), allowed=(404,))
        return found

    def busy(self, dag: str) -> bool:
        """Whether a run of a DAG waits or runs."""
        found = self._api("GET", f"/dags/{dag}/dagRuns?state=queued&state=running&limit=1")
        return bool(found["dag_runs"])

    def started(self, dag: str, run: str, target: str) -> list[str]:
        """The runs of the DAG `target` that asset events of a run have started and that began."""
        query = urlencode({"source_dag_id": dag, "source_run_id": run})
        # Airflow 3.3 answers 500 while a run of an event waits: it cannot show one without a start.
        found = self._api("GET", f"/assets/events?{query}", allowed=(500,))
        events = found["asset_events"] if found else []
        runs = [one for event in events for one in event["created_dagruns"]]
        return sorted({one["run_id"] for one in runs if one["dag_id"] == target})

    def trigger(self, dag: str, run: str, conf: dict[str, Any]) -> None:
        """Start a run under a given id; nothing happens when there is one of that id."""
        body = {"dag_run_id": run, "logical_date": None, "conf": conf}
        self._api("POST", f"/dags/{dag}/dagRuns", body, allowed=(409,))

    def retry(self, dag: str, run: str) -> None:
        """Clear what failed in a run, so that it goes on from there."""
        body = {"dry_run": False, "dag_run_id": run, "only_failed": True, "reset_dag_runs": True}
        self._api("POST", f"/dags/{dag}/clearTaskInstances", body)

    def tasks(self, dag: str, run: str) -> list[dict[str, Any]]:
        """The task instances of a run."""
        found = self._api("GET", f"{_run_path(dag, run)}/taskInstances?limit=200")
        return list(found["task_instances"])

    def _api(self, method: str, path: str, body: Any = None, allowed: tuple[int, ...] = ()) -> Any:
        return self._request(method, f"/api/v2{path}", body, allowed)

    def _request(
        self, method: str, path: str, body: Any = None, allowed: tuple[int, ...] = ()
    ) -> Any:
        for _ in range(_TRIES - 1):
            try:
                return self._ask(method, path, body, allowed)
            except _BusyError:
                # Every request of this client may be made twice.
                time.sleep(_SECONDS_BETWEEN_TRIES)
        return self._ask(method, path, body, allowed)

    def _ask(self, method: str, path: str, body: Any, allowed: tuple[int, ...]) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        request = Request(self.address + path, data, headers, method=method)
        try:
            with urlopen(request, timeout=_TIMEOUT) as answer:
                return json.loads(answer.read() or b"null")
        except HTTPError as error:
            if error.code in allowed:
                return None
            detail = error.read().decode(errors="replace")[:500]
            msg = f"Airflow answered {error.code} to {method} {path}: {detail}"
            raise (_BusyError if _BUSY in detail else StackError)(msg) from error
        except OSError as error:
            msg = f"Airflow at {self.address} does not answer: {error}"
            raise StackError(msg) from error


class _BusyError(StackError):
    """Airflow's database let a request wait for too long."""


def _run_path(dag: str, run: str) -> str:
    return f"/dags/{dag}/dagRuns/{quote(run, safe='')}"
