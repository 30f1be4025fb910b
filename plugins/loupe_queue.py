"""An ingest when something arrives: watches the queue that a bucket's events go to (SQS).

A message only says that it is time to look: the ingest lists the source itself. So a lost message
costs time until the next one or the schedule, and a repeated one costs a listing.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.sdk import Asset, AssetWatcher
from airflow.triggers.base import BaseEventTrigger, TriggerEvent

# The longest that SQS lets one wait for a message.
_WAIT_S = 20
_PAUSE_AFTER_ERROR_S = 30
_MOST_MESSAGES = 10
# Well below the 30 s after which a message that was not deleted comes again.
_LONGEST_BURST_S = 15
_LARGEST_BURST = 1000


class QueueTrigger(BaseEventTrigger):
    """An event for each burst of messages; `settle_s` seconds without one end a burst."""

    def __init__(self, queue: str, settle_s: float = 5) -> None:
        super().__init__()
        self.queue = queue
        self.settle_s = settle_s

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "loupe_queue.QueueTrigger", {"queue": self.queue, "settle_s": self.settle_s}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        # Slow to import, and only the triggerer needs them.
        from aiobotocore.session import get_session
        from botocore.exceptions import BotoCoreError, ClientError

        while True:
            try:
                async with get_session().create_client("sqs") as client:
                    while True:
                        burst = await self._burst(client)
                        yield TriggerEvent({"messages": len(burst)})
                        # Only now: killed before, the messages come again.
                        await self._delete(client, burst)
            except (BotoCoreError, ClientError) as error:
                self.log.warning("queue %s: %s", self.queue, error)
                await asyncio.sleep(_PAUSE_AFTER_ERROR_S)

    async def _burst(self, client: Any) -> list[str]:
        """The handles of the messages that come until there is a pause; at least one.

        A line that is never quiet has none, and messages that are kept too long come again: a burst
        ends by itself.
        """
        handles: list[str] = []
        began = time.monotonic()
        while found := await self._receive(client, self.settle_s if handles else _WAIT_S, handles):
            began = began if handles else time.monotonic()
            handles += found
            if time.monotonic() - began > _LONGEST_BURST_S or len(handles) >= _LARGEST_BURST:
                break
        return handles

    async def _receive(self, client: Any, wait_s: float, known: list[str]) -> list[str]:
        while True:
            answer = await client.receive_message(
                QueueUrl=self.queue,
                MaxNumberOfMessages=_MOST_MESSAGES,
                WaitTimeSeconds=int(wait_s),
            )
            found = [message["ReceiptHandle"] for message in answer.get("Messages", [])]
            if found or known:
                return found

    async def _delete(self, client: Any, handles: list[str]) -> None:
        for start in range(0, len(handles), _MOST_MESSAGES):
            batch = handles[start : start + _MOST_MESSAGES]
            entries = [{"Id": str(i), "ReceiptHandle": one} for i, one in enumerate(batch)]
            await client.delete_message_batch(QueueUrl=self.queue, Entries=entries)


def arrivals(line: str, queue: str) -> Asset:
    """What the queue of a line announces."""
    watcher = AssetWatcher(name=f"{line}__queue", trigger=QueueTrigger(queue))
    return Asset(name=f"{line}__arrivals", uri=f"loupe://{line}/arrivals", watchers=[watcher])
