"""The HTML reports below LOUPE_HOME/reports."""

from pathlib import Path

from flask import Blueprint, Response, send_file
from werkzeug.security import safe_join

from serving.errors import ApiError
from serving.installation import installation

blueprint = Blueprint("reports", __name__)

_SUFFIXES = {".html", ".json", ".png", ".svg", ".css", ".js"}


@blueprint.get("/reports/<path:path>")
def report(path: str) -> Response:
    """A report file; nothing outside the folder, whatever the path or a symbolic link says."""
    root = (installation().home.root / "reports").resolve()
    joined = safe_join(str(root), path)
    found = None if joined is None else Path(joined).resolve()
    if (
        found is None
        or not found.is_relative_to(root)
        or found.suffix not in _SUFFIXES
        or not found.is_file()
    ):
        raise ApiError(404, "unknown_report", f"no report {path!r}")
    answer = send_file(found, conditional=True, max_age=0)
    answer.headers["X-Loupe-Report"] = "1"
    return answer
