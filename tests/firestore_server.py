"""A small gRPC server that speaks Firestore's protocol and fails where a test asks it to.

Its messages are the client's own types, so that the client under test is Google's, unchanged. It
stands in for what no emulator does: answers that are lost, refused or incomplete. Of queries it
knows what the results store asks: equal fields, ids from one on, their order, a limit, a count.
Another order it refuses, as Firestore does where it lacks an index for that, and no emulator does.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.cloud.firestore_v1 import types

_SERVICE = "google.firestore.v1.Firestore"
_REFUSED = {
    "unavailable": grpc.StatusCode.UNAVAILABLE,
    "exhausted": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "aborted": grpc.StatusCode.ABORTED,
    "denied": grpc.StatusCode.PERMISSION_DENIED,
}


class FirestoreServer:
    """Documents by name. Each commit takes the next of `faults`, where there is one:

    `unavailable`, `exhausted`, `aborted`, `denied`: refused with that status; `lost`: applied, and
    the answer lost; `half`: half of it applied, and the answer lost; `short`: half of it applied
    and answered as if that was all.
    """

    def __init__(self) -> None:
        self.documents: dict[str, Any] = {}
        self.faults: deque[str] = deque()
        self.commits: list[int] = []
        self._server = grpc.server(ThreadPoolExecutor(2))
        one = grpc.unary_unary_rpc_method_handler
        many = grpc.unary_stream_rpc_method_handler
        methods = {
            "Commit": one(
                self._commit, types.CommitRequest.deserialize, types.CommitResponse.serialize
            ),
            "BatchGetDocuments": many(
                self._get,
                types.BatchGetDocumentsRequest.deserialize,
                types.BatchGetDocumentsResponse.serialize,
            ),
            "RunQuery": many(
                self._query, types.RunQueryRequest.deserialize, types.RunQueryResponse.serialize
            ),
            "RunAggregationQuery": many(
                self._count,
                types.RunAggregationQueryRequest.deserialize,
                types.RunAggregationQueryResponse.serialize,
            ),
        }
        handler = grpc.method_handlers_generic_handler(_SERVICE, methods)
        self._server.add_generic_rpc_handlers((handler,))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None)

    def content(self) -> bytes:
        """Every document as bytes, in the order of their names."""
        names = sorted(self.documents)
        return b"".join(
            name.encode() + types.Document.pb(self.documents[name]).SerializeToString(True)
            for name in names
        )

    def _commit(self, request: Any, context: Any) -> Any:
        fault = self.faults.popleft() if self.faults else ""
        if fault in _REFUSED:
            context.abort(_REFUSED[fault], f"{fault}, as the test asks")
        writes = list(request.writes)
        self.commits.append(len(writes))
        if fault in ("half", "short"):
            writes = writes[: len(writes) // 2]
        for write in writes:
            if write.delete:
                self.documents.pop(write.delete, None)
            else:
                body = types.Document(name=write.update.name, fields=write.update.fields)
                self.documents[write.update.name] = body
        if fault in ("lost", "half"):
            context.abort(grpc.StatusCode.UNAVAILABLE, "the answer is lost")
        return types.CommitResponse(write_results=[types.WriteResult() for _ in writes])

    def _get(self, request: Any, _: Any) -> Iterator[Any]:
        for name in request.documents:
            found = self.documents.get(name)
            yield types.BatchGetDocumentsResponse(
                **({"missing": name} if found is None else {"found": found})
            )

    def _query(self, request: Any, context: Any) -> Iterator[Any]:
        asked = request.structured_query
        if any(order.field.field_path != "__name__" for order in asked.order_by):
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "The query requires an index.")
        for found in self._found(request.parent, request.structured_query):
            yield types.RunQueryResponse(document=found)

    def _count(self, request: Any, _: Any) -> Iterator[Any]:
        asked = request.structured_aggregation_query
        count = types.Value(
            integer_value=len(list(self._found(request.parent, asked.structured_query)))
        )
        result = types.AggregationResult(aggregate_fields={asked.aggregations[0].alias: count})
        yield types.RunAggregationQueryResponse(result=result)

    def _found(self, parent: str, query: Any) -> list[Any]:
        place = f"{parent}/{query.from_[0].collection_id}/"
        where = query.where.composite_filter.filters or [query.where]
        asked = [one.field_filter for one in where if one.field_filter.field.field_path]
        wanted = [one for one in asked if one.field.field_path != "__name__"]
        first = max((one.value.reference_value for one in asked if one not in wanted), default="")
        found = [
            one
            for name, one in sorted(self.documents.items())
            if name.startswith(place)
            and name >= first
            and all(one.fields.get(f.field.field_path) == f.value for f in wanted)
        ]
        for order in query.order_by:
            if order.direction == types.StructuredQuery.Direction.DESCENDING:
                found.reverse()
        return found[: query.limit or None]
