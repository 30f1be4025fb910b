"""The results API that the dashboard reads, and the place for people's verdicts."""

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, abort, current_app, request, send_file
from werkzeug.utils import safe_join

from ml.errors import ImageError
from ml.files import content_key
from ml.imaging import decode_rgb
from ml.inference.explain import to_png
from ml.results import Document
from serving.lines import known_lines, require_line, store

blueprint = Blueprint("results", __name__)

_LIMIT = 100
_MAX_LIMIT = 500
_THUMBNAIL_SIDE = 512
_SEVERITIES = ("none", "warning", "alarm")
_MAX_TEXT = 500


@blueprint.get("/v1/lines")
def lines() -> dict[str, Any]:
    """Every line with its last night, drift severity and alerts of that night."""
    return {"lines": [_glance(line) for line in known_lines().values()]}


@blueprint.get("/v1/lines/<line>")
def line(line: str) -> dict[str, Any]:
    """One line with its last night and its champion's run."""
    known = require_line(line)
    return {
        "line": known,
        "night": _last_night(line),
        "run": store().get("runs", f"{line}__{known['bundle']}") if known["bundle"] else None,
    }


@blueprint.get("/v1/lines/<line>/<any(nights, runs, windows, alerts):kind>")
def listing(line: str, kind: str) -> dict[str, Any]:
    """Nights, runs, drift windows or alerts of a line, newest first."""
    require_line(line)
    order = "decision" if kind == "runs" else "day"
    where = {"line": line}
    return {"items": store().find(kind, where, order_by=order, descending=True, limit=_limit())}


@blueprint.get("/v1/lines/<line>/parts")
def parts(line: str) -> dict[str, Any]:
    """Parts that did not pass, newest first; filters `day`, `verdict`, `limit`."""
    require_line(line)
    where: dict[str, str | int | bool] = {"line": line}
    where |= {key: value for key in ("day", "verdict") if (value := request.args.get(key))}
    found = store().find("parts", where, order_by="day", descending=True, limit=_limit())
    return {"items": found}


@blueprint.get("/v1/lines/<line>/images/<sha256>")
def image(line: str, sha256: str) -> Response:
    """An image as PNG, at most 512 pixels a side."""
    require_line(line)
    if len(sha256) != 64 or not all(letter in "0123456789abcdef" for letter in sha256):
        abort(404, f"{sha256!r} is not the SHA-256 of an image")
    path = current_app.config["HOME"].object(sha256)
    if not path.exists():
        abort(404, f"no image {sha256}")
    try:
        png = to_png(decode_rgb(path.read_bytes()), _THUMBNAIL_SIDE)
    except ImageError as error:
        abort(422, f"image {sha256} cannot be shown: {error}")
    # An image never changes under its hash.
    headers = {"Cache-Control": "private, max-age=31536000, immutable", "ETag": f'"{sha256}"'}
    return Response(png, mimetype="image/png", headers=headers)


@blueprint.post("/v1/lines/<line>/reviews")
def review(line: str) -> tuple[dict[str, Any], int]:
    """A person's verdict on a part: `sha256`, `verdict`, `by`; `defect_type` and `comment` too."""
    require_line(line)
    body = request.get_json(silent=True)
    document = _review(line, body if isinstance(body, dict) else {})
    name = f"{line}__{document['sha256'][:16]}__{content_key(document['by'])}"
    store().put("reviews", {name: document})
    return {"id": name, **document}, 201


@blueprint.get("/reports/<path:path>")
def report(path: str) -> Response:
    """An HTML report below LOUPE_HOME/reports."""
    root = current_app.config["HOME"].root / "reports"
    found = safe_join(str(root), path)
    if found is None or not found.endswith(".html"):
        abort(404, f"no report {path!r}")
    try:
        answer = send_file(found, mimetype="text/html")
    except FileNotFoundError:
        abort(404, f"no report {path!r}")
    # Evidently's pages carry their scripts inside; they are given no way to call out.
    answer.headers["Content-Security-Policy"] = (
        "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; font-src data:; "
        "script-src 'unsafe-inline' 'unsafe-eval' data: blob:; "
        f"frame-ancestors {current_app.config['FRAME_ANCESTORS']}"
    )
    return answer


def _glance(known: Document) -> dict[str, Any]:
    night = _last_night(known["line"])
    day = night["day"] if night else ""
    where = {"line": known["line"], "day": day}
    severities = [window["severity"] for window in store().find("windows", where)]
    return {
        **{name: known[name] for name in ("line", "title", "description", "models", "bundle")},
        "spread": known["spread"],
        "night": night,
        "severity": max(severities, key=_SEVERITIES.index, default="none"),
        "alerts": store().count("alerts", where),
    }


def _last_night(line: str) -> Document | None:
    found = store().find("nights", {"line": line}, order_by="day", descending=True, limit=1)
    return found[0] if found else None


def _limit() -> int:
    text = request.args.get("limit", str(_LIMIT))
    if not text.isdigit() or not 1 <= int(text) <= _MAX_LIMIT:
        abort(400, f"limit is {text!r}; expected 1 to {_MAX_LIMIT}")
    return int(text)


def _review(line: str, body: dict[str, Any]) -> Document:
    texts = {
        name: body.get(name, "") for name in ("sha256", "verdict", "by", "defect_type", "comment")
    }
    if any(not isinstance(text, str) or len(text) > _MAX_TEXT for text in texts.values()):
        abort(400, f"every field is text of at most {_MAX_TEXT} characters")
    if texts["verdict"] not in ("pass", "fail"):
        abort(400, f"verdict is {texts['verdict']!r}; expected 'pass' or 'fail'")
    if not texts["by"].strip():
        abort(400, "`by` is empty; a verdict needs the name of who gives it")
    if not store().find("parts", {"line": line, "sha256": texts["sha256"]}, limit=1):
        abort(404, f"no held or failed part {texts['sha256']!r} on line {line!r}")
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return {"line": line, **{name: text.strip() for name, text in texts.items()}, "at": at}
