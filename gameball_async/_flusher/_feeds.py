"""The files of a journal as sources of events: how far each was read, and what is left of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from .._journal import SegmentInfo, StoredEvent


class SegmentCursor:
    """One file.

    Attributes:
        segment: the number of the file.
        sealed: the batches that an earlier process sealed, until they are restored.
        cursor: the seq of the last event that was read, or passed by.
        remaining: accepted events that lie in it and were not read.
        skipped: the seqs of events that must not be let in when they are read: their batch was
            restored already, and split since, or their call was cancelled.
        unsettled: accepted events that lie in it and have no outcome.
    """

    __slots__ = ("cursor", "remaining", "sealed", "segment", "skipped", "unsettled")

    def __init__(self, source: SegmentInfo) -> None:
        self.segment = source.segment
        self.sealed = source.sealed
        self.cursor = 0
        self.remaining = source.events
        self.skipped: set[int] = set()
        self.unsettled = source.events


class SegmentCursors:
    """The files in the order in which they are read: the adopted ones, oldest first, and then the own one.

    Args:
        sources: the files, the own one last; it is new and holds nothing.

    Attributes:
        own: the file that this process writes to.
        events: how many events lay in them at first.
    """

    def __init__(self, sources: Iterable[SegmentInfo]) -> None:
        feeds = [SegmentCursor(source) for source in sources]
        self.events = sum(feed.remaining for feed in feeds)
        self.own = feeds[-1]
        self._by_origin = {feed.segment: feed for feed in feeds}
        self._unread = deque(feeds)

    def next(self) -> SegmentCursor | None:
        """The feed to read from; None if everything was read."""
        while self._unread[0] is not self.own and not self._unread[0].remaining:
            self._unread.popleft()
        return self._unread[0] if self._unread[0].remaining else None

    def settle(self, segment: int, events: int) -> bool:
        """Note that events of a file have their outcome; True if an adopted file has done its duty."""
        feed = self._by_origin[segment]
        feed.unsettled -= events
        return feed is not self.own and feed.unsettled <= 0


def requests(rows: Iterable[StoredEvent]) -> Iterator[list[StoredEvent]]:
    """Rows one by one, and those together that must go in one request."""
    group: list[StoredEvent] = []
    for row in rows:
        if group and (row.together is None or row.together != group[0].together):
            yield group
            group = []
        group.append(row)
    if group:
        yield group
