"""The pace at which documents may be written."""

import time
from collections.abc import Callable

# Firestore's best practices: traffic to a collection starts at 500 writes a second and may grow by
# half every five minutes; but a collection with an indexed field that only grows, as `day` does,
# takes 500 a second for good. So the pace never rises.
WRITES_PER_SECOND = 500


class Pace:
    """Lets writes through at WRITES_PER_SECOND on average; what is not used is not saved up."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._free_at = clock()

    def wait(self, writes: int) -> None:
        """Wait until so many writes may go out at once."""
        early = self._free_at - self._clock()
        if early > 0:
            self._sleep(early)
        self._free_at = max(self._free_at, self._clock()) + writes / WRITES_PER_SECOND
