"""The OpenAPI document of this API; a test compares it with the routes."""

from typing import Any

from flask import Blueprint

from serving.errors import PREDICT_PATH

blueprint = Blueprint("openapi", __name__)

Schema = dict[str, Any]


@blueprint.get("/v1/openapi.json")
def openapi() -> dict[str, Any]:
    """This API as OpenAPI 3.1."""
    return DOCUMENT


def _parameter(name: str, place: str, text: str, **schema: Any) -> Schema:
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "description": text,
        "schema": {"type": "string", **schema},
    }


_LINE = _parameter("line", "path", "name of an inspection line")
_LIMIT = _parameter("limit", "query", "at most so many", type="integer", minimum=1, maximum=1000)
_NULLABLE_NUMBER: Schema = {"type": ["number", "null"]}
_BY_MODEL: Schema = {"type": "object", "additionalProperties": _NULLABLE_NUMBER}
_ERROR = {"$ref": "#/components/schemas/Error"}


def _get(summary: str, *parameters: Schema, media: str = "application/json") -> Schema:
    return {"get": _operation(summary, {"200": summary}, media) | {"parameters": [*parameters]}}


def _operation(summary: str, answers: dict[str, str], media: str = "application/json") -> Schema:
    responses: Schema = {
        status: {"description": text, "content": {media: {}}} for status, text in answers.items()
    }
    responses["default"] = {
        "description": "an error",
        "content": {"application/json": {"schema": _ERROR}},
    }
    return {"summary": summary, "responses": responses}


def _object(required: list[str], **properties: Schema) -> Schema:
    return {"type": "object", "required": required, "properties": properties}


_REGION = _object(
    ["box", "polygon", "area", "p_defect", "area_mm2", "longest_mm", "weak"],
    box={
        "type": "array",
        "description": "left, top, width, height, in pixels of the image sent",
        "items": {"type": "integer"},
    },
    polygon={"type": "array", "description": "outline: pairs of x, y", "items": {"type": "array"}},
    area={"type": "number", "description": "in pixels of the image sent"},
    p_defect={"type": "number"},
    area_mm2=_NULLABLE_NUMBER,
    longest_mm=_NULLABLE_NUMBER,
    weak={"type": "boolean", "description": "the segmenter learned from weak masks: a hint"},
)

_PREDICT = _operation(
    "Verdict on one image; `review` whenever it cannot be inspected",
    {
        "200": "inspected",
        "400": "a field is missing; verdict review",
        "404": "unknown line; verdict review",
        "413": "the upload is too large; verdict review",
        "422": "the image cannot be inspected; verdict review",
        "503": "no verified bundle is live; verdict review",
    },
) | {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": _object(
                    ["image", "line"],
                    image={"type": "string", "contentMediaType": "application/octet-stream"},
                    line={"type": "string"},
                    explain={"type": "string", "enum": ["0", "1"], "description": "1: heat map"},
                )
            }
        },
    }
}
_PREDICT["responses"]["200"]["content"]["application/json"] = {
    "schema": {"$ref": "#/components/schemas/Prediction"}
}

_REVIEW = _operation(
    "Record a person's verdict on an image",
    {"201": "recorded", "200": "recorded before", "422": "not a review"},
) | {
    "parameters": [_LINE],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": _object(
                    ["sha256", "verdict", "by"],
                    sha256={"type": "string", "pattern": "^[0-9a-f]{64}$"},
                    object={
                        "type": "string",
                        "maxLength": 1024,
                        "description": "that of the part; needed where the image is held unread",
                    },
                    verdict={"enum": ["pass", "fail"]},
                    defect_type={"type": "string", "maxLength": 64},
                    by={"type": "string", "maxLength": 64},
                    comment={"type": "string", "maxLength": 2000},
                )
            }
        },
    },
}

_PATHS: Schema = {
    "/healthz": _get("The process answers"),
    "/readyz": _get("The results store and every live bundle can be used (else 503, and why)"),
    PREDICT_PATH: {"post": _PREDICT},
    "/v1/models/current": _get(
        "The live bundle of a line and its card", _parameter("line", "query", "name of a line")
    ),
    "/v1/lines": _get("All lines at a glance"),
    "/v1/lines/{line}": _get(
        "One line, its latest night, its live run, its validation page", _LINE
    ),
    "/v1/lines/{line}/nights": _get("Nights, newest first", _LINE, _LIMIT),
    "/v1/lines/{line}/runs": _get("Evaluated bundles, champions first", _LINE, _LIMIT),
    "/v1/lines/{line}/windows": _get("Drift windows, newest day first", _LINE, _LIMIT),
    "/v1/lines/{line}/alerts": _get("Alerts, newest day first", _LINE, _LIMIT),
    "/v1/lines/{line}/parts": _get(
        "Parts not passed, newest day first",
        _LINE,
        _LIMIT,
        _parameter("day", "query", "only this day", format="date"),
        _parameter("verdict", "query", "only this verdict", enum=["fail", "review"]),
    ),
    "/v1/lines/{line}/images/{sha256}": _get(
        "An image, at most 512 px a side",
        _LINE,
        _parameter("sha256", "path", "SHA-256 of the image as it came"),
        media="image/png",
    ),
    "/v1/lines/{line}/reviews": {"post": _REVIEW}
    | _get(
        "What people said of an image, latest first",
        _LINE,
        _parameter("sha256", "query", "SHA-256 of the image"),
    ),
    "/v1/openapi.json": _get("This document"),
    "/reports/{path}": _get(
        "An HTML report", _parameter("path", "path", "as a document names it"), media="text/html"
    ),
}


DOCUMENT: Schema = {
    "openapi": "3.1.0",
    "info": {"title": "Loupe", "version": "1"},
    "paths": _PATHS,
    "components": {
        "schemas": {
            "Error": _object(
                ["error"],
                error=_object(["code", "message"], code={"type": "string"}, message={}),
                verdict={"const": "review", "description": "on errors of /v1/predict"},
            ),
            "Prediction": _object(
                [
                    "line",
                    "bundle",
                    "verdict",
                    "reason",
                    "p_defect",
                    "scores",
                    "calibrated",
                    "elapsed_ms",
                ],
                line={"type": "string"},
                bundle={"type": "string"},
                verdict={"enum": ["pass", "fail", "review"]},
                reason={"type": "string"},
                p_defect=_NULLABLE_NUMBER,
                scores=_BY_MODEL | {"description": "raw score of each model"},
                calibrated=_BY_MODEL | {"description": "probability of a defect by each model"},
                defect_type={"type": "string"},
                area=_NULLABLE_NUMBER,
                regions={
                    "type": ["array", "null"],
                    "description": "null without a segmenter",
                    "items": _REGION,
                },
                elapsed_ms={"type": "number"},
                heat_map={"type": ["string", "null"], "contentEncoding": "base64"},
            ),
        }
    },
}
