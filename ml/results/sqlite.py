"""Documents in one SQLite file; many processes may read and write at once."""

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ml.errors import ResultsError, ResultsUnusableError
from ml.results.store import Document, Where, to_json

_SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (
    collection TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (collection, id)
) WITHOUT ROWID
"""
# Most questions are for a day of a line. Paths stand in the text of a query, not beside it: else
# SQLite would not see that they are those of the index.
_INDEX = """
CREATE INDEX IF NOT EXISTS documents_line_day
ON documents (collection, json_extract(body, '$.line'), json_extract(body, '$.day'))
"""
_HAS_INDEX = "SELECT count(*) FROM sqlite_master WHERE name = 'documents_line_day'"
_BUSY_SECONDS = 30.0
_DAMAGED = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
_MEND = (
    "the results store is damaged. Restore it from a backup, or keep it and what lies beside it "
    "({name}-wal, {name}-shm) aside: `loupe publish` of each day, then `loupe reconcile`, write "
    "nights and parts anew from the predictions, and `loupe review` people's verdicts from their "
    "ledgers"
)
# A full disk meets SQLite in several places, and of some it says no more than `disk I/O error`.
_DISK = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
_MORE_SPACE = "where the disk is full, free some space in LOUPE_HOME and run the same command again"


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
            connection.execute(_INDEX)
            connection.executemany("REPLACE INTO documents VALUES (?, ?, ?)", rows)
        return len(rows)

    def get(self, collection: str, name: str) -> Document | None:
        rows = self._select("id, body", collection, {}, " AND id = ?", [name])
        return _documents(rows)[0] if rows else None

    def find(
        self,
        collection: str,
        where: Where | None = None,
        *,
        since: str = "",
        descending: bool = False,
        limit: int | None = None,
    ) -> list[Document]:
        direction = " DESC" if descending else ""
        tail = f" AND id >= ? ORDER BY id{direction}"
        if limit is not None:
            tail += f" LIMIT {int(limit)}"
        return _documents(self._select("id, body", collection, where or {}, tail, [since]))

    def count(self, collection: str, where: Where | None = None) -> int:
        rows = self._select("count(*)", collection, where or {})
        return int(rows[0][0]) if rows else 0

    def delete(self, collection: str, names: Iterable[str]) -> None:
        if not self._path.exists():
            return
        rows = [(collection, name) for name in names]
        with self._connect() as connection:
            connection.executemany("DELETE FROM documents WHERE collection = ? AND id = ?", rows)

    def _select(
        self, what: str, collection: str, where: Where, tail: str = "", more: Iterable[Any] = ()
    ) -> list[tuple[Any, ...]]:
        if not self._path.exists():
            return []
        fields = "".join(f" AND {_field(name)} = ?" for name in where)
        with self._connect() as connection:
            # Left to itself, SQLite takes the collection for small and reads all of it.
            is_of_day = {"line", "day"} <= where.keys() and _is_indexed(connection)
            by = " INDEXED BY documents_line_day" if is_of_day else ""
            query = f"SELECT {what} FROM documents{by} WHERE collection = ?{fields}{tail}"
            return connection.execute(query, [collection, *where.values(), *more]).fetchall()

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                # Also to read: who was killed before its first write leaves a file without it.
                connection.execute(_SCHEMA)
                with connection:
                    yield connection
            finally:
                connection.close()
        except sqlite3.Error as error:
            # The low byte is the kind; those above say where it happened.
            kind = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if kind in _DAMAGED:
                msg = f"{self._path}: {error}: {_MEND.format(name=self._path.name)}"
                raise ResultsUnusableError(msg) from error
            # To read, too, SQLite makes files beside a database in WAL mode.
            needed = [path for path in (self._path.parent, self._path) if path.exists()]
            may_write = all(os.access(path, os.R_OK | os.W_OK) for path in needed)
            cannot_open = kind == sqlite3.SQLITE_CANTOPEN and not may_write
            if kind == sqlite3.SQLITE_READONLY or cannot_open:
                msg = f"{self._path}: {error}; let the user that Loupe runs as write there"
                raise ResultsUnusableError(msg) from error
            msg = f"{self._path}: {error}" + (f"; {_MORE_SPACE}" if kind in _DISK else "")
            raise ResultsError(msg) from error


def _is_indexed(connection: sqlite3.Connection) -> bool:
    """Give a file of an older Loupe the index; False for one that may only be read."""
    if not connection.execute(_HAS_INDEX).fetchone()[0]:
        try:
            # Beside a writer the question is answered without it: the next one makes it.
            connection.execute("PRAGMA busy_timeout = 0")
            connection.execute(_INDEX)
        except sqlite3.OperationalError:
            return False
        finally:
            connection.execute(f"PRAGMA busy_timeout = {int(1000 * _BUSY_SECONDS)}")
    return True


def _field(name: str) -> str:
    """A field of a document, as the index spells it."""
    if not name.isidentifier():
        msg = f"{name!r} is no field of a document"
        raise ValueError(msg)
    return f"json_extract(body, '$.{name}')"


def _documents(rows: list[tuple[Any, ...]]) -> list[Document]:
    return [{**json.loads(body), "id": name} for name, body in rows]
