"""Which model is live on a line, and its card."""

from typing import Any

from flask import Blueprint, request

from ml.bundle.live import live_record
from serving.errors import ApiError
from serving.installation import installation

blueprint = Blueprint("models", __name__)


@blueprint.get("/v1/models/current")
def current() -> dict[str, Any]:
    """The verified live bundle of `?line=`: name, predecessor, number of promotions, card."""
    here = installation()
    line = request.args.get("line", "")
    if not line:
        raise ApiError(400, "missing_line", "say which line: /v1/models/current?line=<name>")
    here.line(line)
    inspector = here.inspectors.get(line)
    if inspector is None:
        raise ApiError(404, "no_live_bundle", f"no bundle is live on line {line!r}; promote one")
    record = live_record(here.home, line) or {}
    bundle = inspector.bundle
    return {
        "line": line,
        "bundle": bundle.name,
        "previous": record.get("previous"),
        "number": record.get("number"),
        "card": bundle.card.model_dump(mode="json"),
    }
