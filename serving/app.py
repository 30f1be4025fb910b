"""The application factory."""

import os
from collections.abc import Mapping

from flask import Flask

from serving import (
    dashboard,
    errors,
    headers,
    health,
    images,
    models,
    openapi,
    predict,
    reports,
    results,
    reviews,
)
from serving.installation import Installation, attach
from serving.settings import ServingSettings

_BLUEPRINTS = (
    health.blueprint,
    predict.blueprint,
    models.blueprint,
    results.blueprint,
    images.blueprint,
    reviews.blueprint,
    reports.blueprint,
    openapi.blueprint,
    dashboard.blueprint,
)


def create_app(config: Mapping[str, str] | None = None) -> Flask:
    """Make the app. `config` overrides environment variables of the same names.

    Raises SettingsError when a variable is wrong.
    """
    settings = ServingSettings.read({**os.environ, **(config or {})})
    # No static folder: Flask's default would serve the package's own.
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.upload_bytes
    app.json.sort_keys = False  # type: ignore[attr-defined]
    attach(app, Installation.open(settings))
    errors.register(app)
    headers.register(app, settings.frame_ancestors)
    for blueprint in _BLUEPRINTS:
        app.register_blueprint(blueprint)
    return app
