"""Documents in one SQLite file; many processes may read and write at once."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ml.errors import ResultsError
from ml.results.store import Document, Where, to_json

_SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (
    collection TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (collection, id)
) WITHOUT ROWID
"""
_BUSY_SECONDS = 30.0


class SQLiteStore:
    """A results store in the file `path`, which is created by the first write."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def put(self, collection: str, documents: Mapping[str, Document]) -> int:
        rows = [
            (collection, name, to_json(collection, name, body)) for name, body in documents.items()
        ]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._connect() as connection:
            connection.execute(_SCHEMA)
            connection.executemany("REPLACE INTO documents VALUES (?, ?, ?)", rows)
        return len(rows)

    def get(self, collection: str, name: str) -> Document | None:
        rows = self._select("SELECT id, body", collection, {}, " AND id = ?", [name])
        return rows[0] if rows else None

    def find(
        self,
        collection: str,
        where: Where | None = None,
        *,
        order_by: str | None = None,
        descending: bool = False,
        limit: int | None = None,
    ) -> list[Document]:
        tail, arguments = "", []
        direction = " DESC" if descending else ""
        if order_by is not None:
            tail += f" ORDER BY json_extract(body, ?){direction}, id{direction}"
            arguments.append(f"$.{order_by}")
        else:
            tail += f" ORDER BY id{direction}"
        if limit is not None:
            tail += f" LIMIT {int(limit)}"
        return self._select("SELECT id, body", collection, where or {}, tail, arguments)

    def count(self, collection: str, where: Where | None = None) -> int:
        return len(self._select("SELECT id, '{}'", collection, where or {}, "", []))

    def delete(self, collection: str, names: Iterable[str]) -> None:
        if not self._path.exists():
            return
        rows = [(collection, name) for name in names]
        with self._connect() as connection:
            connection.executemany("DELETE FROM documents WHERE collection = ? AND id = ?", rows)

    def _select(
        self, what: str, collection: str, where: Where, tail: str, arguments: list[Any]
    ) -> list[Document]:
        if not self._path.exists():
            return []
        query, values = f"{what} FROM documents WHERE collection = ?", [collection]
        for field, value in where.items():
            query += " AND json_extract(body, ?) = ?"
            values += [f"$.{field}", value]  # type: ignore[list-item]
        with self._connect() as connection:
            rows = connection.execute(query + tail, [*values, *arguments]).fetchall()
        return [{**json.loads(body), "id": name} for name, body in rows]

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                with connection:
                    yield connection
            finally:
                connection.close()
        except sqlite3.Error as error:
            msg = f"{self._path}: {error}"
            raise ResultsError(msg) from error
