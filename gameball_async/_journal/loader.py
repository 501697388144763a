"""Loads stored events into the buffer, in the order in which they were accepted."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from weakref import WeakValueDictionary

from .._config import Batching
from .._core.batch import request_bytes
from .._core.buffer import Buffer
from .._core.events import EncodedEvent, as_event
from .._core.receipts import SharedOutcome, StoredOutcome
from .._engine.storage import StorageCallbacks
from .._log import counted, fields, logger
from ..errors import Dropped, DropReason, InvalidEvent, JournalError, LifecycleError
from .pending_appends import PendingAppend
from .records import DeadLetterEntry, Loaded, SegmentInfo, StoredEvent
from .writer import JournalWriter


class SegmentCursor:
    """One file.

    Attributes:
        segment: the number of the file.
        sealed: the batches that an earlier process sealed, until they are restored.
        jobs: the jobs of those that were accepted, by the seq of their first event.
        last_seq: the seq of the last event that was read, or passed by.
        remaining: accepted events that lie in it and were not read.
        skipped: the seqs of events that must not be loaded: their batch was
            restored already, and split since, or their call was cancelled.
        unsettled: accepted events that lie in it and have no outcome.
    """

    __slots__ = ("jobs", "last_seq", "remaining", "sealed", "segment", "skipped", "unsettled")

    def __init__(self, source: SegmentInfo) -> None:
        self.segment = source.segment
        self.sealed = source.sealed
        self.jobs = source.jobs
        self.last_seq = 0
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
        cursors = [SegmentCursor(source) for source in sources]
        self.events = sum(cursor.remaining for cursor in cursors)
        self.own = cursors[-1]
        self._by_segment = {cursor.segment: cursor for cursor in cursors}
        self._unread = deque(cursors)

    def next(self) -> SegmentCursor | None:
        """The cursor to read from; None if everything was read."""
        while self._unread[0] is not self.own and not self._unread[0].remaining:
            self._unread.popleft()
        return self._unread[0] if self._unread[0].remaining else None

    def settle(self, segment: int, events: int) -> bool:
        """Note that events of a file have their outcome; True if an adopted file is finished."""
        cursor = self._by_segment[segment]
        cursor.unsettled -= events
        return cursor is not self.own and cursor.unsettled <= 0


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


_log = logger("gameball_async")

_CHUNK = 500
"""Events read back at a time, at most: placing them takes the loop about 2 ms."""

_CHUNK_BYTES = 1024 * 1024


class Loader:
    """Loads events into the buffer in the order in which they were accepted.

    Args:
        sources: the files of the journal, the own one last.
        writer: reads them.
        buffer: what events are loaded into.
        batching: how much the buffer holds.
        callbacks: report to the flusher.

    Attributes:
        spilled: accepted events that are not in the buffer.
        loaded: events that were loaded so far, or given up instead.
        is_closed: whether nothing is loaded any more.
    """

    def __init__(
        self,
        sources: list[SegmentInfo],
        writer: JournalWriter,
        buffer: Buffer,
        batching: Batching,
        callbacks: StorageCallbacks,
    ) -> None:
        self._cursors = SegmentCursors(sources)
        self.spilled = self._cursors.events
        self.loaded = 0
        self.is_closed = False
        self._writer = writer
        self._buffer = buffer
        self._batching = batching
        self._callbacks = callbacks
        self._is_reading = False
        self._needed = (0, 0)  # events and bytes of the request that found no room when it was read
        self._interruption: LifecycleError | None = None
        # of spilled events whose receipts are referenced
        self._outcomes: WeakValueDictionary[int, StoredOutcome] = WeakValueDictionary()
        for source in sources:
            self.settle(source.segment, 0)  # a file may be empty already

    def _spill(self, events: int) -> None:
        self.spilled -= events
        self.loaded += events

    def has_loaded(self, seq: int) -> bool:
        """Whether all events up to this seq of the active segment are in the buffer."""
        cursor = self._cursors.next()
        return cursor is None or (cursor is self._cursors.own and cursor.last_seq >= seq)

    # ---------------------------------------------------------------- events of this process

    def count(self, append: PendingAppend) -> None:
        """Count events as accepted that may still be pending."""
        if not append.was_counted:
            append.was_counted = True
            self.spilled += len(append.rows)

    def admit(self, append: PendingAppend) -> None:
        """Put durable events into the buffer, or spill them if others are spilled or there is no room."""
        own, rows = self._cursors.own, append.rows
        events = len(rows)
        own.unsettled += events
        shared = None
        if not self.is_closed and self._cursors.next() is None:
            shared = self._offer(own, rows, append.now)
        if shared is None:
            self.count(append)
            own.remaining += events
            append.interrupt(self._interruption)
            self._outcomes.update(dict.fromkeys(_seqs(rows), append))
        else:
            append.join(shared)
            if append.was_counted:
                self.spilled -= events
            self.loaded += events
            own.last_seq = rows[-1].seq
            if own.skipped:
                own.skipped.clear()
        append.rows = ()

    def withdraw(self, append: PendingAppend) -> None:
        """Forget stored events whose call was cancelled."""
        own, seqs = self._cursors.own, _seqs(append.rows)
        self._writer.ack(own.segment, seqs)
        if self._cursors.next() is None:
            own.last_seq = seqs[-1]
        else:
            own.skipped.update(seqs)

    def refuse(self, append: PendingAppend, why: JournalError) -> None:
        """Drop events that could not be stored; a caller that waits has the error already."""
        if not append.was_counted:
            return
        error = Dropped(f"the event could not be stored: {why}", reason=DropReason.JOURNAL_FAILED)
        self._spill(len(append.rows))
        append.settle(error)
        self._refuse(append.rows, error)

    # ---------------------------------------------------------------- reading back

    def refill(self, first_undecided: float) -> None:
        """Read spilled events, if a good part of the buffer is free.

        Args:
            first_undecided: the seq from which on events of this process are not decided yet.
        """
        while not (self._is_reading or self.is_closed) and (cursor := self._cursors.next()) is not None:
            counts, batching = self._buffer.counts, self._batching
            events = batching.buffer_events - counts.pending
            size = batching.buffer_bytes - counts.pending_bytes
            is_roomy = 4 * events >= batching.buffer_events and 4 * size >= batching.buffer_bytes
            if counts.pending and not (is_roomy and self._buffer.has_room(*self._needed)):
                return
            if cursor.sealed:
                self._restore_sealed(cursor)  # this file may hold nothing else: continue with the next one
            else:
                self._is_reading = True
                done = partial(self._on_read, cursor, first_undecided)
                self._writer.read(cursor.segment, cursor.last_seq, min(events, _CHUNK), min(size, _CHUNK_BYTES), done)

    def _restore_sealed(self, cursor: SegmentCursor) -> None:
        sealed, cursor.sealed = cursor.sealed, []
        for rows in sealed:
            seqs = _seqs(rows)
            opened_at, job = self._opened_at(rows[0]), cursor.jobs.get(seqs[0])
            batch = self._buffer.restore(_events(rows), opened_at, cursor.segment, seqs, job=job)
            cursor.remaining -= len(rows)
            cursor.skipped.update(seqs)
            self._spill(len(rows))
            self._callbacks.on_restored(batch)

    def _on_read(self, cursor: SegmentCursor, first_undecided: float, loaded: Loaded | JournalError) -> None:
        if isinstance(loaded, JournalError):
            return  # the journal has ended: a further read would be refused at once, again and again
        self._is_reading = False
        if self.is_closed:
            return
        if loaded.unreadable:
            self._write_off(cursor, loaded.unreadable)
        limit = first_undecided if cursor is self._cursors.own else math.inf
        is_complete = all(self._load(cursor, rows, limit) for rows in requests(loaded.rows))
        if loaded.is_last and is_complete and cursor.remaining:
            missing = cursor.remaining
            self._write_off(cursor, missing)
            extra = fields("journal", events=missing)
            _log.error("%s missing in a file of the journal", counted(missing, "event", "are"), extra=extra)

    def _load(self, cursor: SegmentCursor, rows: list[StoredEvent], limit: float) -> bool:
        """Load the events of one request; False if the buffer is full, or they are undecided."""
        if rows[0].seq >= limit:
            return False
        if rows[0].seq in cursor.skipped:
            cursor.last_seq = rows[-1].seq
            return True
        return self._place(cursor, rows)

    def _place(self, cursor: SegmentCursor, rows: list[StoredEvent]) -> bool:
        first = rows[0]
        outcome = self._outcomes.pop(first.seq, None) if cursor is self._cursors.own else None
        try:
            shared = self._offer(cursor, rows, self._opened_at(first))
        except InvalidEvent as error:  # another process had other limits
            self._move_on(cursor, rows)
            self._refuse_read(cursor, rows, error)
            return True
        if shared is None:
            if outcome is not None:
                self._outcomes[first.seq] = outcome
            self._needed = (len(rows), request_bytes(_events(rows)))
            return False
        if outcome is not None:
            outcome.join(shared)
        self._move_on(cursor, rows)
        return True

    def _move_on(self, cursor: SegmentCursor, rows: list[StoredEvent]) -> None:
        """Note that these rows are not spilled any more."""
        self._needed = (0, 0)
        cursor.remaining -= len(rows)
        cursor.last_seq = rows[-1].seq
        self._spill(len(rows))

    def _offer(self, cursor: SegmentCursor, rows: Sequence[StoredEvent], now: float) -> SharedOutcome | None:
        """Put the events of one request, or a single one that may merge, into the buffer; None if it has no room."""
        first = rows[0]
        if first.together is None:
            shared = self._buffer.offer(first.event, now, cursor.segment, (first.seq,))
        else:
            shared = self._buffer.offer_batch(_events(rows), now, cursor.segment, _seqs(rows))
        if shared is not None and self._interruption is not None:
            shared.interrupt(self._interruption)
        return shared

    def _refuse_read(self, cursor: SegmentCursor, rows: list[StoredEvent], why: InvalidEvent) -> None:
        error = Dropped(f"an event of the journal does not fit the settings: {why}", reason=DropReason.JOURNAL_FAILED)
        letters = [DeadLetterEntry(row.seq, as_event(row.event), error) for row in rows]
        self._writer.dead_letter(cursor.segment, letters)
        self.settle(cursor.segment, len(rows))
        self._refuse(rows, error)

    def _refuse(self, rows: Sequence[StoredEvent], error: Dropped) -> None:
        for row in rows:
            self._buffer.refuse_newest(row.event, error)
        self._callbacks.on_refused([as_event(row.event) for row in rows], error)

    def _write_off(self, cursor: SegmentCursor, events: int) -> None:
        """Count events that the disk has lost."""
        events = min(events, cursor.remaining)
        cursor.remaining -= events
        self._spill(events)
        self._buffer.write_off(events)
        self.settle(cursor.segment, events)
        self._callbacks.on_missing(events)

    def _opened_at(self, row: StoredEvent) -> float:
        return self._callbacks.now() - max(0.0, time.time() - row.accepted_at)

    # ---------------------------------------------------------------- end

    def settle(self, segment: int, events: int) -> None:
        """Note that events of a file have their outcome; an adopted file is removed with its last."""
        if self._cursors.settle(segment, events):
            self._writer.discard(segment)

    def interrupt(self, error: LifecycleError | None) -> None:
        """Fail waiting receipts of spilled events with `error`; None resumes."""
        self._interruption = error
        for outcome in list(self._outcomes.values()):
            outcome.interrupt(error)


def _seqs(rows: Sequence[StoredEvent]) -> tuple[int, ...]:
    return tuple(row.seq for row in rows)


def _events(rows: Sequence[StoredEvent]) -> list[EncodedEvent]:
    return [row.event for row in rows]
