"""Images by the SHA-256 of their bytes, small enough for a page."""

import re

from flask import Blueprint, Response, request

from ml.errors import ImageError, SettingsError
from ml.imaging import decode_rgb
from ml.inference.explain import to_png
from serving.errors import ApiError
from serving.installation import installation

blueprint = Blueprint("images", __name__, url_prefix="/v1/lines")

SHA256 = re.compile(r"[0-9a-f]{64}")
_SIDE = 512
_YEAR_SECONDS = 365 * 24 * 3600


@blueprint.get("/<line>/images/<sha256>")
def image(line: str, sha256: str) -> Response:
    """An image as PNG, at most 512 px a side. It never changes, so browsers may keep it."""
    here = installation()
    here.line(line)
    path = here.home.object(sha256)
    if not SHA256.fullmatch(sha256) or not path.is_file():
        raise ApiError(404, "unknown_image", f"no image {sha256!r} is kept here")
    if request.if_none_match.contains(sha256):
        return _cached(Response(status=304), sha256)
    try:
        content = to_png(decode_rgb(path.read_bytes(), bits=_bits(line)), _SIDE)
    except ImageError as error:
        raise ApiError(422, error.reason, f"image {sha256}: {error}") from error
    return _cached(Response(content, mimetype="image/png"), sha256)


def _bits(line: str) -> int | None:
    try:
        config = installation().line_config(line)
    except SettingsError:
        return None
    return None if config is None else config.source.bits


def _cached(answer: Response, sha256: str) -> Response:
    answer.set_etag(sha256)
    answer.cache_control.private = True
    answer.cache_control.max_age = _YEAR_SECONDS
    answer.cache_control.immutable = True
    return answer
