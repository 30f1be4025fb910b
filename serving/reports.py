"""The HTML reports below LOUPE_HOME/reports."""

from flask import Blueprint, Response, send_file

from serving.disk import file_below
from serving.errors import ApiError
from serving.installation import installation

blueprint = Blueprint("reports", __name__)

_SUFFIXES = {".html", ".json", ".png", ".svg", ".css", ".js"}


@blueprint.get("/reports/<path:path>")
def report(path: str) -> Response:
    """A report file; nothing outside the folder, whatever the path or a symbolic link says."""
    found = file_below(installation().home.root / "reports", path)
    if found is None or found.suffix not in _SUFFIXES:
        raise ApiError(404, "unknown_report", f"no report {path!r}")
    answer = send_file(found, conditional=True, max_age=0)
    answer.headers["X-Loupe-Report"] = "1"
    return answer
