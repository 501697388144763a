"""The storage of a client with a journal: every event is on disk until it has its outcome.

An event's states:

=========  ====================================================  =============================================
state      where it is                                           it leaves it when
=========  ====================================================  =============================================
pending    being written to disk; its call of `track` waits      it is durable, the disk refused it, or the call
                                                                 was cancelled, which withdraws it
spilled    on disk, not in the buffer                            the buffer has room, and everything accepted
                                                                 before it is loaded
buffered   also in the buffer, as in a client without a journal  its batch was sealed on disk, then sent
settled    it has its outcome                                    it is deleted from disk soon after
=========  ====================================================  =============================================

While no event is spilled, a durable event goes straight into the buffer.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial

import anyio
import anyio.lowlevel

from .._config import Batching, Journal
from .._core.batch import Batch, request_bytes
from .._core.buffer import Buffer, non_reentrant, reentrant
from .._core.events import EncodedEvent
from .._core.receipts import JobId, Notifier, SharedOutcome, check_stack
from .._engine.backends import Backend, Signal
from .._engine.storage import Storage, StorageCallbacks
from .._log import counted
from ..errors import BufferFull, ClientClosed, DeliveryError, JournalError, LifecycleError, NotStarted
from .loader import Loader
from .pending_appends import PendingAppend, PendingAppends
from .records import DeadLetterEntry, SealRecord, SegmentInfo, StoredEvent, new_row
from .writer import JournalWriter

_STACK = 100
"""Nested calls that an event needs until it is in the buffer: `durable` continues where `accept` was called."""

_LONGEST_CLOSE = 2.0
"""Seconds that a close waits for the disk."""


class JournalStorage(Storage):
    """Events on disk, loaded into the buffer in order.

    Args:
        writer: reads and writes the files.
        journal: the user's settings.
        buffer: what events are loaded into.
        batching: the size of the buffer.
        callbacks: report to the flusher.
    """

    is_persistent = True
    kept_where = "in the journal for the next client"

    def __init__(
        self, writer: JournalWriter, journal: Journal, buffer: Buffer, batching: Batching, callbacks: StorageCallbacks
    ) -> None:
        self.is_changing = False
        self._writer = writer
        self._journal = journal
        self._buffer = buffer
        self._batching = batching
        self._callbacks = callbacks
        self._is_opening = False
        self._is_closing = False
        self._refusal: JournalError | None = None
        self._failure: JournalError | None = None  # the writer's, as of its last notification
        self._used_bytes = 0  # likewise
        self._new_signal: Callable[[], Signal]
        self._loader: Loader | None = None
        self._next_seq = 0
        self._appends = PendingAppends()
        self._dispatched = Notifier()

    @property
    def is_open(self) -> bool:
        """Whether it has to be closed."""
        return self._loader is not None and not self._loader.is_closed

    @property
    def is_closed(self) -> bool:
        """Whether it was closed, so that nothing can be sent any more."""
        return self._loader is not None and self._loader.is_closed

    @property
    def is_storing(self) -> bool:
        """Whether events are being stored whose calls have not returned."""
        return self._appends.events > 0

    @property
    def is_own_thread(self) -> bool:
        """Whether the caller runs in the journal's thread, as log handlers do."""
        return self._writer.is_own_thread

    @property
    def spilled(self) -> int:
        """Accepted events that are not in the buffer."""
        return 0 if self._loader is None else self._loader.spilled

    @property
    def latest(self) -> int:
        """The seq of the latest event that was given to the writer."""
        return self._next_seq - 1

    def has_loaded(self, seq: int) -> bool:
        """Return whether all events up to this seq, and all that earlier processes left, are in the buffer."""
        return self._loader is not None and self._appends.first_undecided > seq and self._loader.has_loaded(seq)

    @property
    def loaded(self) -> int:
        """The number of events that were moved into the buffer so far."""
        return 0 if self._loader is None else self._loader.loaded

    @property
    def used_bytes(self) -> int:
        """Bytes in use in this process's file."""
        return self._used_bytes

    # ---------------------------------------------------------------- lifecycle

    async def serve(self, backend: Backend) -> None:
        """Open the folder, or resume in another loop."""
        self._new_signal = backend.new_signal
        notify = partial(backend.call_soon_from_thread, self._dispatch)
        if self._is_opening:
            self._writer.rebind(notify)
        else:
            self._is_opening = True
            self._writer.open(notify, self._on_opened)
        while self._loader is None:
            if self._refusal is not None:
                raise self._refusal
            await self._dispatched.wait()
        self.refill()

    def _on_opened(self, opened: list[SegmentInfo] | JournalError) -> None:
        if isinstance(opened, JournalError):
            self._refusal = opened
        elif not self._is_closing:  # else it took longer than the close, and the files are left to the next client
            self._next_seq = opened[-1].next_seq
            self._loader = Loader(opened, self._writer, self._buffer, self._batching, self._callbacks)

    def _dispatch(self) -> None:
        """Process what the writer's thread has completed; called in the loop."""
        self._failure, self._used_bytes = self._writer.failure, self._writer.used_bytes
        self._writer.dispatch()
        if self._loader is not None:
            self._advance()
        self._dispatched.ring()
        self._callbacks.on_progress()

    def refill(self) -> None:
        """Load spilled events into the buffer, which may have room."""
        if self._loader is not None:
            self._loader.refill(self._appends.first_undecided)

    async def close(self) -> None:
        """Write what is pending to disk, and leave the files to the next client."""
        if self._loader is None:
            self.abandon()
            return
        if self._loader.is_closed:
            return
        self._is_closing = self._loader.is_closed = True
        closed = anyio.Event()
        try:
            with anyio.move_on_after(_LONGEST_CLOSE, shield=True):
                await self._settle_appends()
                self._writer.close(closed.set)
                await closed.wait()
        finally:
            self._writer.close(closed.set)
            self._buffer.interrupt(_KEPT)
            self.interrupt(_KEPT)

    async def _settle_appends(self) -> None:
        """Wait for the disk, and then until every caller has claimed or withdrawn its events."""
        while (oldest := self._appends.oldest) is not None:
            if oldest.is_answered:
                await anyio.lowlevel.checkpoint()
            else:
                await self._dispatched.wait()

    def interrupt(self, error: LifecycleError | None) -> None:
        """Fail waiting receipts of spilled events with `error`; None resumes."""
        if self._loader is not None:
            self._loader.interrupt(error)

    def abandon(self) -> None:
        """End the writer's thread without waiting for it."""
        if self._is_opening and not self._is_closing:
            self._is_closing = True
            self._writer.close(lambda: None)

    # ---------------------------------------------------------------- pending events

    def accept(self, event: EncodedEvent, now: float) -> SharedOutcome | None:
        """Give one event to the writer; None when full.

        Raises:
            InvalidEvent: if the event alone is larger than a request may be.
            JournalError: if nothing can be stored at present.
            NotStarted: if the client was not started yet.
        """
        check_stack(_STACK)
        self._buffer.check_size((event,))
        size = request_bytes((event,))
        if self.is_changing:
            raise reentrant()
        self.is_changing = True  # as `non_reentrant` does, inlined because this runs for every event
        try:
            if self._loader is None or self._failure is not None:
                self.check()
            if not self._has_room(1, size):
                return None
            player, name, encoded = event.player, event.name, event.encoded
            row = new_row((self._next_seq, player, name, encoded, event.mobile, event.email, time.time(), None))
            return self._append((row,), size, now)
        finally:
            self.is_changing = False

    @non_reentrant
    def accept_batch(self, events: Sequence[EncodedEvent], now: float) -> SharedOutcome | None:
        """Give the events of one request to the writer and claim them; None when full.

        Raises:
            InvalidEvent: if they are larger or more than a request may be.
            JournalError: if nothing can be stored at present.
        """
        self._buffer.check_batch(events)
        size = request_bytes(events)
        self.check()
        if not self._has_room(len(events), size):
            return None
        first, accepted_at = self._next_seq, time.time()
        rows = [
            new_row((seq, event.player, event.name, event.encoded, event.mobile, event.email, accepted_at, first))
            for seq, event in enumerate(events, first)
        ]
        append = self._append(rows, size, now)
        self.claim(append)
        return append

    def _append(self, rows: Sequence[StoredEvent], size: int, now: float) -> PendingAppend:
        append, appends, events = PendingAppend(rows, size, now, self._buffer.check_waiting), self._appends, len(rows)
        self._next_seq += events
        appends.queue.append(append)
        appends.events += events
        appends.size += size
        self._writer.append(append)
        return append

    def _has_room(self, events: int, size: int) -> bool:
        """Whether the disk has room, and not too much is pending."""
        appends = self._appends
        events += appends.events
        size += appends.size
        return (
            self._used_bytes + size <= self._journal.max_bytes  # an event takes less on disk than in memory
            and events <= self._batching.buffer_events
            and (size <= self._batching.buffer_bytes or not appends.events)
        )

    def check(self) -> None:
        """Raise if nothing can be stored at present."""
        if self._loader is None:
            raise NotStarted("a client with a journal opens it when it starts: use `async with`, or await start().")
        if self._failure is not None:
            raise self._failure.with_traceback(None)

    def full(self, remedy: str) -> BufferFull:
        """Return the error for an event that found no room."""
        used, most = self._used_bytes, self._journal.max_bytes
        return BufferFull(
            f"the journal is full: {used:,} of {most:,} bytes on disk, "
            f"{counted(self._appends.events, 'event')} on the way there. {remedy}Track the event later, or raise "
            "Journal(max_bytes=...)."
        )

    def claim(self, accepted: SharedOutcome) -> None:
        """Accept the events of one call for good, whether they are durable yet or not."""
        assert isinstance(accepted, PendingAppend), "`accept` returned it"  # noqa: S101 an invariant
        accepted.is_claimed = True
        self._opened.count(accepted)

    async def durable(self, accepted: SharedOutcome) -> None:
        """Wait until the event of one call is durable, and accept it; a caller that is cancelled withdraws it."""
        append = accepted
        assert isinstance(append, PendingAppend), "`accept` returned it"  # noqa: S101 an invariant
        append.answered = self._new_signal()  # the writer completes it in the loop, and so not before this awaits
        try:
            await append.answered
            append.is_claimed = append.error is None
        finally:
            if append.is_claimed is None:
                append.is_claimed = False
            self._advance()
        if append.error is not None:
            raise append.error.with_traceback(None)
        if not append.is_gone:  # an earlier call has not resumed yet
            self._opened.count(append)

    def _advance(self) -> None:
        """Process the oldest calls that are both completed by the disk and claimed or withdrawn."""
        appends = self._appends
        queue, loader = appends.queue, self._opened
        while queue and (append := queue[0]).is_answered:
            if append.is_claimed is None:
                return  # its caller resumes next, and continues here
            queue.popleft()
            append.is_gone = True
            appends.events -= len(append.rows)
            appends.size -= append.size
            if append.error is not None:
                loader.refuse(append, append.error)
            elif append.is_claimed:
                loader.admit(append)
            else:
                loader.withdraw(append)
        # that was the last of those whose commit has just ended
        self.refill()
        self._callbacks.on_progress()

    @property
    def _opened(self) -> Loader:
        assert self._loader is not None, "the journal is open"  # noqa: S101 an invariant
        return self._loader

    # ---------------------------------------------------------------- batches

    async def seal(self, batch: Batch) -> None:
        """Wait until it is durable that this batch is about to be sent."""
        if not batch.is_recorded:
            await self._record((batch,))
            batch.is_recorded = True

    async def seal_all(self, batches: Sequence[Batch]) -> None:
        """Wait until it is durable that these batches are about to be sent in one bulk request."""
        unrecorded = [batch for batch in batches if not batch.is_recorded]
        await self._record(unrecorded)
        for batch in unrecorded:
            batch.is_recorded = True

    async def record_job(self, batches: Sequence[Batch], job: JobId) -> None:
        """Wait until it is durable that Gameball has accepted these sealed batches as this job."""
        await self._record(batches, job)

    async def _record(self, batches: Sequence[Batch], job: JobId | None = None) -> None:
        by_segment: defaultdict[int, list[SealRecord]] = defaultdict(list)
        for batch in batches:
            by_segment[batch.segment].append(SealRecord(batch.seqs, batch.mobile, batch.email, job))
        waits: list[anyio.Event] = []  # of this call: the completion of an earlier, cancelled one must not count
        for segment, records in by_segment.items():
            waits.append(anyio.Event())
            self._writer.seal(segment, records, waits[-1].set)
        for event in waits:
            await event.wait()

    def retry(self, batch: Batch) -> None:
        """Remove the seal: the batch was not applied, and is sealed again before it is sent, whole or in parts."""
        batch.is_recorded = False
        self._writer.unseal(batch.segment, batch.seqs[0])

    def ack(self, batch: Batch) -> None:
        """Delete the events of a batch that was delivered."""
        self._writer.ack(batch.segment, batch.seqs)
        self._settle(batch)

    def dead_letter(self, batch: Batch, error: DeliveryError) -> None:
        """Move the events of a batch that will not arrive to the dead letters."""
        events = zip(batch.seqs, batch.as_events(), strict=True)
        self._writer.dead_letter(batch.segment, [DeadLetterEntry(seq, event, error) for seq, event in events])
        self._settle(batch)

    def _settle(self, batch: Batch) -> None:
        self._opened.settle(batch.segment, len(batch.seqs))


_KEPT = ClientClosed("the client was closed before delivery; the event is kept in the journal for the next client.")
