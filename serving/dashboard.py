"""The built React dashboard; any path that is not the API's shows it."""

from pathlib import Path

from flask import Blueprint, Response, abort, current_app, send_from_directory

blueprint = Blueprint("dashboard", __name__)

_NOT_BUILT = (
    "<!doctype html><title>Loupe</title><h1>The dashboard is not built</h1>"
    "<p>Run <code>make dashboard</code>; the API answers meanwhile.</p>"
)


@blueprint.get("/")
@blueprint.get("/<path:path>")
def page(path: str = "index.html") -> Response:
    """A file of the build, or its start page."""
    if path.startswith(("v1/", "reports/")):
        abort(404, f"no such address: /{path}")
    root = Path(current_app.config["DASHBOARD"])
    if not (root / "index.html").exists():
        return Response(_NOT_BUILT, status=503, mimetype="text/html")
    known = (root / path).is_file() and root.resolve() in (root / path).resolve().parents
    return send_from_directory(root, path if known else "index.html")
