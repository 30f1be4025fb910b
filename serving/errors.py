"""Every error answer is `{"error": {"code", "message"}}`.

An answer of /v1/predict also carries the verdict `review`: a caller that looks at nothing but the
verdict still holds the part.
"""

import logging
from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from ml.errors import BundleError, LoupeError, ResultsError, StorageError

PREDICT_PATH = "/v1/predict"

_log = logging.getLogger(__name__)


class ApiError(Exception):
    """An answer with an HTTP status, a code for programs and a message for people."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def register(app: Flask) -> None:
    """Turn every error into a JSON answer."""
    app.register_error_handler(ApiError, lambda e: _answer(e.status, e.code, e.message))
    app.register_error_handler(BundleError, lambda e: _answer(503, "bundle_not_verified", str(e)))
    app.register_error_handler(StorageError, lambda e: _answer(503, "storage", str(e)))
    app.register_error_handler(ResultsError, lambda e: _answer(503, "results_store", str(e)))
    app.register_error_handler(RequestEntityTooLarge, _too_large)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(LoupeError, lambda e: _answer(500, type(e).__name__, str(e)))
    app.register_error_handler(Exception, _unexpected)


def _answer(status: int, code: str, message: str) -> Response:
    body: dict[str, Any] = {"error": {"code": code, "message": message}}
    if request.path == PREDICT_PATH:
        body |= {"verdict": "review", "reason": code, "p_defect": None}
    answer = jsonify(body)
    answer.status_code = status
    return answer


def _too_large(_: RequestEntityTooLarge) -> Response:
    megabytes = (request.max_content_length or 0) / 1e6
    return _answer(413, "upload_too_large", f"an upload may have at most {megabytes:g} MB")


def _http(error: HTTPException) -> Response:
    code = error.name.lower().replace(" ", "_")
    answer = _answer(error.code or 500, code, f"{request.path}: {error.description}")
    # 405 names the allowed methods, 416 the length.
    for name, value in error.get_headers():
        if name not in ("Content-Type", "Content-Length"):
            answer.headers[name] = value
    return answer


def _unexpected(error: Exception) -> Response:
    _log.exception("%s %s failed", request.method, request.path, exc_info=error)
    return _answer(500, "internal_error", "something broke here; the server's log says what")
