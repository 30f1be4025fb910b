"""One small protocol for SQLite (the default) and Firestore (production)."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from ml.errors import ResultsError
from ml.settings import Env, Home

Document = dict[str, Any]
Where = Mapping[str, str | int | bool]


class ResultStore(Protocol):
    """Collections of documents with ids of their own. Writing the same twice changes nothing."""

    def put(self, collection: str, documents: Mapping[str, Document]) -> int:
        """Add or replace documents by id and return how many.

        Raises ResultsError when any is lost, or has a number that is not finite: one such document
        would break every query of its collection.
        """

    def get(self, collection: str, name: str) -> Document | None:
        """One document, or None."""

    def find(
        self,
        collection: str,
        where: Where | None = None,
        *,
        since: str = "",
        descending: bool = False,
        limit: int | None = None,
    ) -> list[Document]:
        """Documents whose fields equal `where`, by their id, which each has under `id`.

        With `since`, an id, those before it are left out: where ids begin with line and day, one
        question is enough for all days from one on.

        There is no other order: Firestore would ask for an index of its own for each.
        """

    def count(self, collection: str, where: Where | None = None) -> int:
        """How many documents match."""

    def delete(self, collection: str, names: Iterable[str]) -> None:
        """Delete documents by id; an id that is not there is fine."""


def open_results(env: Env, home: Home) -> ResultStore:
    """The store that LOUPE_RESULTS names."""
    if env.results.startswith("firestore:"):
        from ml.results.firestore import FirestoreStore

        return FirestoreStore(env.results.removeprefix("firestore:"))
    from ml.results.sqlite import SQLiteStore

    return SQLiteStore(home.results)


def to_json(collection: str, name: str, body: Document) -> str:
    """A document as canonical JSON; ResultsError names it when a number in it is not finite."""
    try:
        return json.dumps(body, sort_keys=True, allow_nan=False)
    except ValueError as error:
        msg = f"{collection}, document {name}: {error}; nothing was written"
        raise ResultsError(msg) from error
