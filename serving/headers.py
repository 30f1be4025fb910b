"""Security headers of every answer."""

from flask import Flask, Response

_PAGE = (
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors {ancestors}"
)
# Reports are files with everything inlined, Evidently's with its scripts. `sandbox` gives them an
# origin of their own, so that a script in a report cannot call this API.
_REPORT = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; connect-src 'none'; "
    "object-src 'none'; base-uri 'none'; form-action 'none'; "
    "sandbox allow-scripts allow-popups; frame-ancestors {ancestors}"
)


def register(app: Flask, ancestors: str) -> None:
    """Add the headers; `ancestors` are the CSP sources that may show a page in a frame."""
    page, report = _PAGE.format(ancestors=ancestors), _REPORT.format(ancestors=ancestors)

    @app.after_request
    def _headers(answer: Response) -> Response:
        is_report = answer.headers.pop("X-Loupe-Report", None) is not None
        answer.headers["Content-Security-Policy"] = report if is_report else page
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["Referrer-Policy"] = "same-origin"
        answer.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        if answer.is_json:
            answer.headers.setdefault("Cache-Control", "no-store")
        return answer
