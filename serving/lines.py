"""Which lines there are: those with results, and those with only a line file yet."""

from pathlib import Path

from flask import abort, current_app

from ml.errors import SettingsError
from ml.results import Document, ResultStore
from ml.settings import load_line, load_lines


def store() -> ResultStore:
    """The results store of the app."""
    found: ResultStore = current_app.config["RESULTS"]
    return found


def known_lines() -> dict[str, Document]:
    """The `lines` document of each line; a line file without results gives an empty champion."""
    lines = {path.stem: _from_file(path) for path in _files().values()}
    known = {name: document for name, document in lines.items() if document}
    for document in store().find("lines"):
        known[document["line"]] = document
    return dict(sorted(known.items()))


def require_line(name: str) -> Document:
    """The document of a line; 404 naming it when there is none."""
    lines = known_lines()
    if name not in lines:
        abort(404, f"no line {name!r}; there are: {', '.join(lines) or 'none'}")
    return lines[name]


def _files() -> dict[str, Path]:
    return load_lines(current_app.config["LINES"])


def _from_file(path: Path) -> Document:
    try:
        line = load_line(path)
    except SettingsError as error:
        current_app.logger.warning("line left out: %s", error)
        return {}
    return {
        "line": line.name,
        "title": line.title,
        "description": line.description,
        "models": list(line.models),
        "bundle": "",
        "spread": line.source.spread is not None,
    }
