"""Documents in Firestore, below one root document so that a project can hold other things too.

FIRESTORE_EMULATOR_HOST, where set, is respected by Google's client.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ml.errors import ResultsError, ResultsUnusableError
from ml.results.pace import Pace
from ml.results.store import Document, Where, to_json

# Firestore's limit of writes in one commit; and a fifth of its limit of bytes, to which it counts
# the entries of its indexes, several times as much as the outlines of a part.
_BATCH_WRITES = 500
_BATCH_BYTES = 2 << 20
_ROOT = ("loupe", "v1")
# What may pass by itself is tried again after 1, 2, 4, … seconds, for five minutes.
_FIRST_WAIT_S, _LONGEST_WAIT_S, _TRY_S = 1.0, 32.0, 300.0


class FirestoreStore:
    """A results store in a Firestore project."""

    def __init__(self, project: str, pace: Pace | None = None) -> None:
        from google.cloud import firestore

        self._pace = pace or Pace()
        self._project = project
        self._client = self._call(lambda: firestore.Client(project=project))
        self._root = self._client.collection(_ROOT[0]).document(_ROOT[1])

    def put(self, collection: str, documents: Mapping[str, Document]) -> int:
        # Firestore itself would take what is not finite; the API could not pass it on.
        sizes = {name: len(to_json(collection, name, body)) for name, body in documents.items()}
        # Plain batches: a BulkWriter can lose a failed write silently. A commit that the client
        # sends again writes the same ids, so it doubles nothing.
        place = self._root.collection(collection)
        for chunk in _chunks(sizes):
            batch = self._client.batch()
            for name in chunk:
                batch.set(place.document(name), documents[name])
            done = self._commit(batch)
            if len(done) != len(chunk):
                msg = f"{collection}: Firestore wrote {len(done)} of {len(chunk)} documents"
                raise ResultsError(msg)
        return len(documents)

    def get(self, collection: str, name: str) -> Document | None:
        found = self._call(self._root.collection(collection).document(name).get)
        return {**found.to_dict(), "id": found.id} if found.exists else None

    def find(
        self,
        collection: str,
        where: Where | None = None,
        *,
        since: str = "",
        descending: bool = False,
        limit: int | None = None,
    ) -> list[Document]:
        query = self._query(collection, where, since)
        direction = "DESCENDING" if descending else "ASCENDING"
        query = query.order_by("__name__", direction=direction)
        if limit is not None:
            query = query.limit(limit)
        found = self._call(lambda: list(query.stream()))
        return [{**item.to_dict(), "id": item.id} for item in found]

    def count(self, collection: str, where: Where | None = None) -> int:
        query = self._query(collection, where)
        return int(self._call(query.count().get)[0][0].value)

    def delete(self, collection: str, names: Iterable[str]) -> None:
        place = self._root.collection(collection)
        for chunk in _chunks(dict.fromkeys(names, 0)):
            batch = self._client.batch()
            for name in chunk:
                batch.delete(place.document(name))
            self._commit(batch)

    def _query(self, collection: str, where: Where | None, since: str = "") -> Any:
        from google.cloud.firestore_v1.base_query import FieldFilter

        query: Any = self._root.collection(collection)
        if since:
            first = query.document(since)
            query = query.where(filter=FieldFilter("__name__", ">=", first))
        for field, value in (where or {}).items():
            query = query.where(filter=FieldFilter(field, "==", value))
        return query

    def _commit(self, batch: Any) -> list[Any]:
        """Send a batch at the pace that Firestore asks for, again where that may help."""
        from google.api_core import exceptions, retry

        passing = retry.if_exception_type(
            exceptions.Aborted,
            exceptions.DeadlineExceeded,
            exceptions.InternalServerError,
            exceptions.ResourceExhausted,
            exceptions.ServiceUnavailable,
        )
        again = retry.Retry(passing, _FIRST_WAIT_S, _LONGEST_WAIT_S, 2.0, timeout=_TRY_S)
        self._pace.wait(len(batch))
        return list(self._call(lambda: batch.commit(retry=again)))

    def _call(self, action: Any) -> Any:
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError, TransportError

        try:
            return action()
        except GoogleAPIError as error:  # also what was tried again in vain
            msg = f"Firestore project {self._project}: {error}"
            raise ResultsError(msg) from error
        except GoogleAuthError as error:
            msg = f"Firestore project {self._project}: {error}"
            if error.retryable or isinstance(error, TransportError):
                raise ResultsError(msg) from error
            msg += "; set GOOGLE_APPLICATION_CREDENTIALS to the key of a service account"
            raise ResultsUnusableError(msg) from error


def _chunks(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """The names of documents, those that go into one commit together; `sizes` are their bytes."""
    chunk: list[str] = []
    filled = 0
    for name, size in sizes.items():
        if chunk and (len(chunk) == _BATCH_WRITES or filled + size > _BATCH_BYTES):
            yield chunk
            chunk, filled = [], 0
        chunk.append(name)
        filled += size
    if chunk:
        yield chunk
