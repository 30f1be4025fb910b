"""Inspect one uploaded image with the line's live bundle."""

import base64
import time
from dataclasses import asdict
from typing import Any

import numpy as np
from flask import Blueprint, request

from ml.bundle.card import Card
from ml.errors import ImageError
from ml.imaging import Pixels, decode_rgb
from ml.inference.engine import Inspection, Inspector
from ml.inference.explain import heat_map, overlay, read_head, to_png
from ml.inference.regions import regions_of
from ml.settings.line import ChecksConfig
from serving.acceptance import require_acceptable
from serving.errors import PREDICT_PATH, ApiError
from serving.installation import installation

blueprint = Blueprint("predict", __name__)

_HEAT_MAP_SIDE = 512


@blueprint.post(PREDICT_PATH)
def predict() -> dict[str, Any]:
    """Verdict on the multipart file `image` of the line named in the field `line`.

    A part that cannot be inspected is never passed: every error answer says `review`.
    """
    started = time.perf_counter()
    here = installation()
    line = _field("line")
    here.line(line)
    content = _upload()
    inspector = here.inspectors.get(line)
    if inspector is None:
        raise ApiError(503, "no_live_bundle", f"no bundle is live on line {line!r}; promote one")
    config = here.line_config(line)
    checks = ChecksConfig() if config is None else config.checks
    image = _decode(content, checks, inspector.bundle.card.bits)
    inspection = inspector.inspect([image])[0]
    answer = {
        "line": line,
        "bundle": inspector.bundle.name,
        **_describe(inspection),
        "regions": _regions(inspection, image, inspector.bundle.card),
    }
    if request.values.get("explain") == "1":
        answer["heat_map"] = _heat_map(inspector, inspection, image)
    answer["elapsed_ms"] = round((time.perf_counter() - started) * 1000, 1)
    return answer


def _field(name: str) -> str:
    value = request.form.get(name, "")
    if not value:
        msg = f"the form field `{name}` is missing; send multipart/form-data with `image`, `line`"
        raise ApiError(400, f"missing_{name}", msg)
    return value


def _upload() -> bytes:
    if "image" not in request.files:
        msg = "the file `image` is missing; send multipart/form-data with `image` and `line`"
        raise ApiError(400, "missing_image", msg)
    content: bytes = request.files["image"].read()
    return content


def _decode(content: bytes, checks: ChecksConfig, bits: int | None) -> Pixels:
    try:
        image = decode_rgb(content, checks.max_pixels, bits)
    except ImageError as error:
        raise ApiError(422, error.reason, str(error)) from error
    require_acceptable(image, checks)
    return image


def _describe(inspection: Inspection) -> dict[str, Any]:
    decision, scored = inspection.decision, inspection.scored
    return {
        "verdict": decision.verdict,
        "reason": decision.reason,
        "p_defect": decision.p_defect,
        # JSON has no NaN; a model that gave one has no score, and the verdict is review.
        "scores": {k: v if np.isfinite(v) else None for k, v in scored.scores.items()},
        "calibrated": {name: decision.calibrated.get(name) for name in scored.scores},
        "defect_type": inspection.defect_type,
        "area": scored.area,
    }


def _regions(inspection: Inspection, image: Pixels, card: Card) -> list[dict[str, Any]] | None:
    found = regions_of(card, inspection.scored, (image.shape[0], image.shape[1]))
    return None if found is None else [asdict(region) for region in found]


def _heat_map(inspector: Inspector, inspection: Inspection, image: Pixels) -> str | None:
    heat = heat_map(inspection.scored, read_head(inspector.bundle))
    if heat is None:
        return None
    return base64.b64encode(to_png(overlay(image, heat), _HEAT_MAP_SIDE)).decode()
