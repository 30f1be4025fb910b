"""Is the process alive, and can it answer?"""

from typing import Any

from flask import Blueprint, current_app

from ml.bundle.live import live_bundle
from ml.errors import LoupeError
from serving.lines import known_lines

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> dict[str, str]:
    """The process is alive."""
    return {"status": "alive"}


@blueprint.get("/readyz")
def readyz() -> tuple[dict[str, Any], int]:
    """The results store answers and every champion is as it was sealed; else 503 and why."""
    try:
        lines = known_lines()
    except LoupeError as error:
        return {"ready": False, "problems": {"results": str(error)}}, 503
    problems = {name: why for name in lines if (why := _problem(name))}
    return {"ready": not problems, "lines": list(lines), "problems": problems}, (
        503 if problems else 200
    )


def _problem(line: str) -> str:
    try:
        live_bundle(current_app.config["HOME"], line)
    except LoupeError as error:
        return str(error)
    return ""
