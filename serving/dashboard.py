"""The built dashboard; its own router handles the addresses inside it."""

from flask import Blueprint, Response, send_from_directory

from serving.errors import ApiError
from serving.installation import installation

blueprint = Blueprint("dashboard", __name__)

_YEAR_SECONDS = 365 * 24 * 3600
_NOT_THE_DASHBOARD = ("v1/", "reports/")

_NOT_BUILT = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Loupe: dashboard not built</title></head>
<body><main><h1>The dashboard is not built</h1>
<p>The API works; <a href="/readyz">/readyz</a> and <a href="/v1/openapi.json">/v1/openapi.json</a>
answer. To see the dashboard here, build it and load this page again:</p>
<pre>make dashboard</pre>
<p>It is expected in <code>dashboard/dist</code>; LOUPE_DASHBOARD names another folder.</p>
</main></body></html>
"""


@blueprint.get("/")
@blueprint.get("/<path:path>")
def dashboard(path: str = "") -> Response:
    """A file of the build, or index.html for an address of the dashboard's own."""
    if path.startswith(_NOT_THE_DASHBOARD):
        raise ApiError(404, "not_found", f"no such address: /{path}")
    folder = installation().settings.dashboard
    if path and (folder / path).is_file():
        answer = send_from_directory(folder, path)
        # Vite names assets by their content.
        if path.startswith("assets/"):
            answer.cache_control.max_age = _YEAR_SECONDS
            answer.cache_control.immutable = True
        return answer
    if "." in path.rsplit("/", 1)[-1]:
        raise ApiError(404, "not_found", f"no such file: /{path}")
    if not (folder / "index.html").is_file():
        return Response(_NOT_BUILT, mimetype="text/html")
    return send_from_directory(folder, "index.html", max_age=0)
