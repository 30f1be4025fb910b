"""Reading from a source ahead of the decoding, no faster than the source can give.

Reads that are refused or slow halve the number of reads at once; a round of good ones adds one
(additive increase, multiplicative decrease: Chiu and Jain, 1989).
"""

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ml.ahead import run_ahead
from ml.data.source import Listed, Source
from ml.errors import SourceChangedError, SourceError, SourceSilentError

log = logging.getLogger(__name__)

# The contents of an image and what belongs to it; None where they were not as listed.
Reading = list[bytes] | None

_TRIES = 3
_FIRST_PAUSE_S = 0.2
# A single object that takes this long is a sign of a source that has too much to do.
_SLOW_S = 5.0
# So many objects in a row that do not come, each tried several times: the source is down. So it
# is when so many or more cannot be read, and no other comes.
_MOST_LOST = 5
# After so many in a row that cannot be read, the newest of the rest tell whether any can be.
_MOST_REFUSED = 100
_NEWEST = 20


class ReadLimit:
    """How many reads may run at once: between one and `most`. Shared by all reading threads."""

    def __init__(self, most: int) -> None:
        self.most = self.allowed = most
        self.is_stopped = False
        self._running = self._good = 0
        self._changed = threading.Condition()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until one more read may run, and count it while it does."""
        with self._changed:
            self._changed.wait_for(lambda: self._running < self.allowed)
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def slower(self) -> None:
        """Halve the reads at once."""
        with self._changed:
            self._good = 0
            if self.allowed > 1:
                self.allowed //= 2
                log.warning("the source is slow or refuses: %d reads at once", self.allowed)

    def good(self) -> None:
        """A read that came at once; as many of them as run at once allow one more."""
        with self._changed:
            self._good += 1
            if self._good >= self.allowed and self.allowed < self.most:
                self._good = 0
                self.allowed += 1
                self._changed.notify_all()


def read_all(source: Source, groups: Sequence[list[Listed]], limit: ReadLimit) -> Iterator[Reading]:
    """The contents of each group of objects, in order.

    At most four groups for each read at once wait, so memory is bounded. A group is None where
    one of its objects changed, is gone, cannot be read or never came whole. Raises
    SourceSilentError when several in a row did not come: then the source is down, and every other
    would only wait as long; SourceError when several cannot be read and none came. Where a hundred
    in a row cannot be read, nor the newest of the rest, the rest is not tried.
    """
    silent = unreadable = refused = 0
    came = False
    given_up: SourceError | None = None

    def read(group: list[Listed]) -> Reading | SourceError:
        if given_up is not None:
            return given_up
        try:
            return [_read(source, item, limit) for item in group]
        except SourceError as error:
            return error

    reads = run_ahead(read, groups, threads=limit.most, ahead=4 * limit.most)
    for number, found in enumerate(reads, start=1):
        if not isinstance(found, SourceError):
            silent, refused, came = 0, 0, True
            yield found
            continue
        if found is given_up:
            yield None
            continue
        last = found
        if isinstance(found, SourceSilentError):
            silent += 1
        elif isinstance(found, SourceChangedError):
            silent, refused, came = 0, 0, True
        else:
            unreadable, refused = unreadable + 1, refused + 1
        if silent == _MOST_LOST:
            limit.is_stopped = True
            raise found
        log.warning("%s; held for a later ingest", found)
        if refused == _MOST_REFUSED and given_up is None:
            refused = 0
            if all(_is_refused(read(group)) for group in _newest(groups[number:])):
                if not came:
                    limit.is_stopped = True
                    raise found
                given_up = found
                log.warning("%d in a row cannot be read: the rest is held unread", _MOST_REFUSED)
        yield None
    if not came and (silent or unreadable >= _MOST_LOST):
        raise last


def _newest(groups: Sequence[list[Listed]]) -> list[list[Listed]]:
    return sorted(groups, key=lambda group: group[0].modified)[-_NEWEST:]


def _is_refused(found: Reading | SourceError) -> bool:
    return isinstance(found, SourceError) and not found.temporary


def _read(source: Source, item: Listed, limit: ReadLimit) -> bytes:
    for attempt in range(_TRIES):
        try:
            with limit.turn():
                started = time.monotonic()
                content = source.fetch(item)
        except SourceSilentError:
            limit.slower()
            if attempt == _TRIES - 1 or limit.is_stopped:
                raise
            time.sleep(_FIRST_PAUSE_S * 2**attempt)
        else:
            if time.monotonic() - started > _SLOW_S:
                limit.slower()
            else:
                limit.good()
            return content
    raise AssertionError
