"""Is the process alive, and can it answer?"""

from typing import Any

from flask import Blueprint

from ml.errors import BundleError, ResultsError, StorageError
from serving.installation import Installation, installation

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> dict[str, str]:
    """Liveness: the process answers."""
    return {"status": "ok"}


@blueprint.get("/readyz")
def readyz() -> tuple[dict[str, Any], int]:
    """Readiness: the results store is readable and every live bundle is as it was sealed."""
    here = installation()
    try:
        names = [line["line"] for line in here.lines()]
        store = "ok"
    except ResultsError as error:
        names, store = here.line_files(), str(error)
    lines = {name: _bundle_state(here, name) for name in names}
    ready = store == "ok" and all(state["ok"] for state in lines.values())
    body = {"status": "ready" if ready else "not ready", "results": store, "lines": lines}
    return body, 200 if ready else 503


def _bundle_state(here: Installation, line: str) -> dict[str, Any]:
    try:
        inspector = here.inspectors.get(line)
    except (BundleError, StorageError) as error:
        return {"ok": False, "bundle": None, "detail": str(error)}
    if inspector is None:
        # Not a fault: the line waits for its first training, and its parts are held for review.
        return {"ok": True, "bundle": None, "detail": "no bundle is live yet"}
    return {"ok": True, "bundle": inspector.bundle.name, "detail": "verified"}
