"""Reading line files.

Every wrong key or value is reported with the file, the key, what was found and what was expected.
"""

import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ml.errors import SettingsError
from ml.settings.line import LineConfig
from ml.settings.models import BackboneConfig


def load_line(path: Path) -> LineConfig:
    """Read one line file.

    A relative backbone weights path is resolved from the line file's folder; a relative source
    folder stays relative to the working directory.
    Raises SettingsError naming the file, the key, what was found and what was expected.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        msg = f"{path}: no such line file; `loupe line list` shows the lines there are"
        raise SettingsError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8"
        raise SettingsError(msg) from error
    except tomllib.TOMLDecodeError as error:
        msg = f"{path}: not valid TOML: {error}"
        raise SettingsError(msg) from error
    try:
        line = LineConfig.model_validate(document)
    except ValidationError as error:
        raise SettingsError(_explain(path, error)) from error
    if line.name != path.stem:
        msg = f"{path}: `name` is {line.name!r}; expected {path.stem!r}, like the file"
        raise SettingsError(msg)
    return _resolve_weights(line, path)


def load_lines(folder: Path) -> dict[str, Path]:
    """The line files of a folder by line name, without reading them."""
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def _resolve_weights(line: LineConfig, path: Path) -> LineConfig:
    changed: dict[str, Any] = {"backbone": _resolved(line.backbone, path)}
    if line.anomaly.backbone is not None:
        own = {"backbone": _resolved(line.anomaly.backbone, path)}
        changed["anomaly"] = line.anomaly.model_copy(update=own)
    return line.model_copy(update=changed)


def _resolved(backbone: BackboneConfig, path: Path) -> BackboneConfig:
    if backbone.weights in ("hub", "none"):
        return backbone
    weights = (path.absolute().parent / backbone.weights).resolve()
    return backbone.model_copy(update={"weights": str(weights)})


def _explain(path: Path, error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"]) or "(file)"
        if problem["type"] == "extra_forbidden":
            lines.append(f"{path}: unknown key `{key}`; see README, 'Add a line', for the keys")
        elif problem["type"] == "missing":
            lines.append(f"{path}: `{key}` is missing")
        elif isinstance(problem["input"], dict) and "error" in problem.get("ctx", {}):
            # Several keys together: the message names them, and a whole section says nothing.
            lines.append(f"{path}: `{key}`: {problem['ctx']['error']}")
        else:
            lines.append(f"{path}: `{key}` is {problem['input']!r}: {problem['msg']}")
    return "\n".join(lines)
