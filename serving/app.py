"""The application factory."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask import Flask, Response
from werkzeug.exceptions import HTTPException

from ml.errors import BundleError, LoupeError
from ml.results import open_results
from ml.settings import Env, Home
from serving import dashboard, health, predict, results
from serving.inspectors import Inspectors

log = logging.getLogger(__name__)

_MAX_UPLOAD_BYTES = 25 * 1024 * 1024
_DASHBOARD = Path(__file__).parents[1] / "dashboard" / "dist"

# Airflow shows the dashboard in a frame; on one machine both are on loopback.
_FRAME_ANCESTORS = "'self' http://127.0.0.1:* http://localhost:*"


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """The app. `config` may give HOME, LINES, RESULTS, DASHBOARD, MAX_CONTENT_LENGTH."""
    env = Env.read()
    app = Flask(__name__, static_folder=None)
    app.config |= {
        "HOME": Home(env.home),
        "LINES": env.lines,
        "DASHBOARD": _DASHBOARD,
        "MAX_CONTENT_LENGTH": _MAX_UPLOAD_BYTES,
        "FRAME_ANCESTORS": _FRAME_ANCESTORS,
        "THREADS": env.threads,
    }
    app.config |= dict(config or {})
    app.config.setdefault("RESULTS", open_results(env, app.config["HOME"]))
    app.extensions["inspectors"] = Inspectors(app.config["HOME"], app.config["THREADS"])
    for room in (health, predict, results, dashboard):
        app.register_blueprint(room.blueprint)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(LoupeError, _loupe_error)
    app.after_request(_security_headers)
    return app


def _http_error(error: HTTPException) -> tuple[dict[str, Any], int]:
    status = error.code or 500
    return {
        "error": {"code": error.name.lower().replace(" ", "_"), "message": error.description}
    }, status


def _loupe_error(error: LoupeError) -> tuple[dict[str, Any], int]:
    log.error("%s", error)
    code = "bundle_not_usable" if isinstance(error, BundleError) else "not_available"
    return {"verdict": "review", "error": {"code": code, "message": str(error)}}, 503


def _security_headers(response: Response) -> Response:
    from flask import current_app

    ancestors = current_app.config["FRAME_ANCESTORS"]
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    if "Content-Security-Policy" not in response.headers:
        response.headers["Content-Security-Policy"] = (
            "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
            f"frame-ancestors {ancestors}"
        )
    return response
