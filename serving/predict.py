"""`POST /v1/predict`: one image in, one verdict out. What cannot be inspected is `review`."""

import base64
import time
from typing import Any

from flask import Blueprint, abort, current_app, request

from ml.bundle.card import Card
from ml.errors import ImageError
from ml.imaging import Pixels, decode_rgb
from ml.inference.engine import Inspection, Inspector
from ml.inference.explain import heat_map, overlay, read_head, to_png
from serving.lines import require_line

blueprint = Blueprint("predict", __name__)

_MAX_PIXELS = 40_000_000
_HEAT_MAP_SIDE = 768


@blueprint.post("/v1/predict")
def predict() -> tuple[dict[str, Any], int]:
    """Inspect the uploaded `image` for the `line` with its champion; `explain=1` adds a heat map."""
    started = time.monotonic()
    line = request.form.get("line", "")
    upload = request.files.get("image")
    if not line or upload is None:
        abort(400, "send multipart/form-data with the fields `line` and `image`")
    require_line(line)
    try:
        image = decode_rgb(upload.read(), _MAX_PIXELS)
    except ImageError as error:
        problem = {"code": error.reason, "message": str(error)}
        return {"line": line, "verdict": "review", "reason": error.reason, "error": problem}, 422
    inspector = current_app.extensions["inspectors"].of(line)
    if inspector is None:
        problem = {"code": "no_champion", "message": f"no bundle is live on line {line!r} yet"}
        return {"line": line, "verdict": "review", "reason": "no champion", "error": problem}, 503
    inspection = inspector.inspect([image])[0]
    answer = _answer(line, inspector, inspection)
    if request.form.get("explain") == "1":
        answer["heat_map"] = _explanation(inspector, inspection, image)
    answer["elapsed_ms"] = round(1000 * (time.monotonic() - started), 1)
    return answer, 200


@blueprint.get("/v1/models/current")
def current() -> dict[str, Any]:
    """The card of a line's champion."""
    line = request.args.get("line", "")
    require_line(line)
    inspector = current_app.extensions["inspectors"].of(line)
    if inspector is None:
        abort(404, f"no bundle is live on line {line!r} yet; every part is held for review")
    card: Card = inspector.bundle.card
    return {"bundle": inspector.bundle.name, "card": card.model_dump(mode="json")}


def _answer(line: str, inspector: Inspector, inspection: Inspection) -> dict[str, Any]:
    decision = inspection.decision
    return {
        "line": line,
        "verdict": decision.verdict,
        "reason": decision.reason,
        "p_defect": decision.p_defect,
        "defect_type": inspection.defect_type if decision.verdict != "pass" else "",
        "scores": inspection.scored.scores,
        "area": inspection.scored.area,
        "bundle": inspector.bundle.name,
    }


def _explanation(inspector: Inspector, inspection: Inspection, image: Pixels) -> str | None:
    heat = heat_map(inspection.scored, read_head(inspector.bundle))
    if heat is None:
        return None
    return base64.b64encode(to_png(overlay(image, heat), _HEAT_MAP_SIDE)).decode()
