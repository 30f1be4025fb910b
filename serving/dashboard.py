"""The built dashboard; its own router handles the addresses behind the hash."""

from typing import NoReturn

from flask import Blueprint, Response, current_app, redirect, request, send_file
from werkzeug.exceptions import MethodNotAllowed
from werkzeug.wrappers import Response as AnyResponse

from serving.disk import file_below
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
def dashboard(path: str = "") -> AnyResponse:
    """A file of the build, index.html, or the way from a plain address to the dashboard's own."""
    if path.startswith(_NOT_THE_DASHBOARD):
        _refuse(path)
    folder = installation().settings.dashboard
    if path and (found := file_below(folder, path)):
        answer = send_file(found)
        # Vite names assets by their content.
        if path.startswith("assets/"):
            answer.cache_control.max_age = _YEAR_SECONDS
            answer.cache_control.immutable = True
        return answer
    if "." in path.rsplit("/", 1)[-1]:
        raise ApiError(404, "not_found", f"no such file: /{path}")
    if index := file_below(folder, "index.html"):
        # The router reads what follows the hash; its files are found from the root only.
        return redirect(f"/#/{path}") if path else send_file(index, max_age=0)
    return Response(_NOT_BUILT, mimetype="text/html")


def _refuse(path: str) -> NoReturn:
    # This blueprint answers GET everywhere, so a GET of an address that only takes POST lands here.
    adapter = current_app.create_url_adapter(request)
    others = set(adapter.allowed_methods() if adapter else ()) - {"GET", "HEAD", "OPTIONS"}
    if others:
        raise MethodNotAllowed(sorted(others))
    raise ApiError(404, "not_found", f"no such address: /{path}")
