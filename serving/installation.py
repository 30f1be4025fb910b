"""What the request handlers share: settings, paths, the results store, the lines, the models."""

import re
from dataclasses import dataclass
from typing import cast

from flask import Flask, current_app

from ml.errors import SettingsError
from ml.results import Document, ResultStore, open_results
from ml.settings import Home, LineConfig, load_line, load_lines
from ml.settings.line import LINE_NAME
from serving.errors import ApiError
from serving.inspectors import Inspectors
from serving.settings import ServingSettings

_EXTENSION = "loupe"


@dataclass(frozen=True)
class Installation:
    """One LOUPE_HOME as the web app sees it."""

    settings: ServingSettings
    home: Home
    store: ResultStore
    inspectors: Inspectors

    @classmethod
    def open(cls, settings: ServingSettings) -> "Installation":
        """Open the store; models are loaded by the first request that needs them."""
        home = Home.of(settings.env)
        store = open_results(settings.env, home)
        return cls(settings, home, store, Inspectors(home, settings.env.threads))

    def lines(self) -> list[Document]:
        """All lines by name: their documents, and those that have nothing but a line file yet."""
        documents = {item["line"]: _without_id(item) for item in self.store.find("lines")}
        for name in self.line_files():
            if name not in documents:
                documents[name] = self._from_file(name)
        return [documents[name] for name in sorted(documents)]

    def line_files(self) -> list[str]:
        """Names of the lines that have a file."""
        return list(load_lines(self.settings.env.lines))

    def line(self, name: str) -> Document:
        """One line's document; ApiError 404 that names the line when there is none."""
        # Firestore takes some names for paths, and refuses others.
        if re.fullmatch(LINE_NAME, name) and (document := self.store.get("lines", name)):
            return _without_id(document)
        if name in self.line_files():
            return self._from_file(name)
        known = ", ".join(item["line"] for item in self.lines()) or "none"
        raise ApiError(404, "unknown_line", f"no line {name!r}; there are: {known}")

    def line_config(self, name: str) -> LineConfig | None:
        """The line's file, or None where this host has none; SettingsError when it is wrong."""
        path = load_lines(self.settings.env.lines).get(name)
        return None if path is None else load_line(path)

    def _from_file(self, name: str) -> Document:
        title, description = name, ""
        models: list[str] = []
        spread = None
        try:
            config = self.line_config(name)
        except SettingsError as error:
            description = f"the line file is wrong: {error}"
        else:
            if config is not None:
                title, description = config.title, config.description
                models = list(config.models)
                days = config.source.spread
                spread = None if days is None else days.model_dump(mode="json")
        shown = {"title": title, "description": description, "models": models, "spread": spread}
        return {"line": name, "bundle": None, **shown}


def attach(app: Flask, installation: Installation) -> None:
    """Keep the installation with the app."""
    app.extensions[_EXTENSION] = installation


def installation() -> Installation:
    """The installation of the app that answers the current request."""
    return cast(Installation, current_app.extensions[_EXTENSION])


def _without_id(document: Document) -> Document:
    return {key: value for key, value in document.items() if key != "id"}
