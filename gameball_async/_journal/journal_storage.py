"""What a client with a journal keeps: every event on disk until it has its outcome.

An event's way:

==========  ===================================================  =====================================
stage       where it is                                          leaves it
==========  ===================================================  =====================================
queued      on its way to the disk; its call of `track` waits    stored, refused by the disk, or
                                                                 withdrawn: the call was cancelled
outside     on disk, and outside of the buffer                   let in, when the buffer has room and
                                                                 all that was accepted before it is in
buffered    in the buffer too, as in a client without a journal  sealed on disk, then sent
settled     it has its outcome                                   removed from the disk soon after
==========  ===================================================  =====================================

While nothing is outside, an event goes from the queue straight into the buffer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import anyio
import anyio.lowlevel

from .._config import Batching, Journal
from .._core.batch import Batch, event_bytes, held_bytes
from .._core.buffer import Buffer
from .._core.receipts import SharedOutcome
from .._core.reentrancy import non_reentrant, reentrant
from .._engine.backends import Backend, Signal
from .._engine.storage import MemoryStorage, StorageCallbacks
from .._log import counted
from .._notifier import Notifier
from ..errors import ClientClosed, DeliveryError, JournalError, LifecycleError, NotStarted
from .loader import Loader
from .pending_appends import PendingAppend, PendingAppends
from .records import DeadLetterEntry, SegmentInfo, StoredEvent, new_row
from .writer import JournalWriter

_LONGEST_CLOSE = 2.0
"""Seconds that a close waits for the disk."""


class JournalStorage(MemoryStorage):
    """Events on disk, and their way from there into the buffer.

    Args:
        writer: reads and writes the files.
        journal: the user's settings.
        buffer: the window on the files.
        batching: how much the buffer holds.
        hooks: what the flusher does when something happens to events here.
    """

    is_journal = True

    def __init__(
        self, writer: JournalWriter, journal: Journal, buffer: Buffer, batching: Batching, hooks: StorageCallbacks
    ) -> None:
        self.is_changing = False
        self._writer = writer
        self._journal = journal
        self._buffer = buffer
        self._batching = batching
        self._hooks = hooks
        self._is_opening = False
        self._is_closing = False
        self._refusal: JournalError | None = None
        self._failure: JournalError | None = None  # the writer's, as of its last word
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
        """Whether events are on their way to the disk whose calls may yet accept them."""
        return self._appends.events > 0

    @property
    def is_own_thread(self) -> bool:
        """Whether the caller runs in the journal's thread, as log handlers do."""
        return self._writer.is_own_thread

    @property
    def spilled(self) -> int:
        """Accepted events that lie outside of the buffer."""
        return 0 if self._loader is None else self._loader.spilled

    @property
    def latest(self) -> int:
        """The seq of the latest event that was put on its way to the disk."""
        return self._next_seq - 1

    def has_loaded(self, seq: int) -> bool:
        """Whether everything up to this seq of this process's events, and all that was found here, is in the buffer."""
        return self._loader is not None and self._appends.first_undecided > seq and self._loader.has_loaded(seq)

    @property
    def load(self) -> int:
        """How many events were let into the buffer so far."""
        return 0 if self._loader is None else self._loader.load

    @property
    def used_bytes(self) -> int:
        """Bytes of this process's file that are in use."""
        return self._used_bytes

    # ---------------------------------------------------------------- life

    async def open(self, backend: Backend) -> None:
        """Open the folder, or go on in another loop."""
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
            self._loader = Loader(opened, self._writer, self._buffer, self._batching, self._hooks)

    def _dispatch(self) -> None:
        """Take over what the writer's thread has completed; it is called in the loop."""
        self._failure, self._used_bytes = self._writer.failure, self._writer.used_bytes
        self._writer.dispatch()
        if self._loader is not None:
            self._advance()
        self._dispatched.ring()
        self._hooks.on_progress()

    def refill(self) -> None:
        """The buffer has room: let in what lies outside."""
        self._opened.refill(self._appends.first_undecided)

    async def close(self) -> None:
        """Put on disk what is queued, and leave the files to the next client."""
        if self._loader is None:
            self.abandon()
            return
        if self._loader.is_closed:
            return
        self._is_closing = self._loader.is_closed = True
        closed = anyio.Event()
        try:
            with anyio.move_on_after(_LONGEST_CLOSE, shield=True):
                await self._settle_arrivals()
                self._writer.close(closed.set)
                await closed.wait()
        finally:
            self._writer.close(closed.set)
            self._buffer.interrupt(_KEPT)
            self.interrupt(_KEPT)

    async def _settle_arrivals(self) -> None:
        """Wait for the disk, and then until whoever waited for it as well has claimed or withdrawn."""
        while (oldest := self._appends.oldest) is not None:
            if oldest.is_answered:
                await anyio.lowlevel.checkpoint()
            else:
                await self._dispatched.wait()

    def interrupt(self, error: LifecycleError | None) -> None:
        """Let whoever waits for the outcome of an event outside hear that nobody works at it; None: somebody does."""
        if self._loader is not None:
            self._loader.interrupt(error)

    def abandon(self) -> None:
        """Nobody will close it any more: let the writer's thread end."""
        if self._is_opening and not self._is_closing:
            self._is_closing = True
            self._writer.close(lambda: None)

    # ---------------------------------------------------------------- events on their way to the disk

    def offer(
        self, player_unique_id: str, name: str, encoded: bytes, mobile: str | None, email: str | None, now: float
    ) -> SharedOutcome | None:
        """Put one event on its way to the disk; None if there is no room.

        Raises:
            InvalidEvent: if the event alone is larger than a request may be.
            JournalError: if nothing can be stored at present.
            NotStarted: if the client was not started yet.
        """
        self._buffer.check_size(player_unique_id, name, len(encoded), mobile, email)
        size = event_bytes(player_unique_id, name, encoded, mobile, email)
        if self.is_changing:
            raise reentrant()
        self.is_changing = True  # as `one_change` does, without a call in between: this runs for every event
        try:
            if self._loader is None or self._failure is not None:
                self.check()
            if not self._has_room(1, size):
                return None
            row = new_row((self._next_seq, player_unique_id, name, encoded, mobile, email, time.time(), None))
            return self._queue((row,), size, now)
        finally:
            self.is_changing = False

    @non_reentrant
    def offer_batch(
        self, player_unique_id: str, events: Mapping[str, bytes], mobile: str | None, email: str | None, now: float
    ) -> SharedOutcome | None:
        """Put the events of one request on their way to the disk, as accepted; None if there is no room.

        Raises:
            InvalidEvent: if they are larger or more than a request may be.
            JournalError: if nothing can be stored at present.
        """
        self._buffer.check_batch(player_unique_id, events, mobile, email)
        size = held_bytes(player_unique_id, events, mobile, email)
        self.check()
        if not self._has_room(len(events), size):
            return None
        first, accepted_at = self._next_seq, time.time()
        rows = [
            StoredEvent(seq, player_unique_id, name, encoded, mobile, email, accepted_at, first)
            for seq, (name, encoded) in enumerate(events.items(), first)
        ]
        arrival = self._queue(rows, size, now)
        self.claim(arrival)
        return arrival

    def _queue(self, rows: Sequence[StoredEvent], size: int, now: float) -> PendingAppend:
        arrival, appends, events = PendingAppend(rows, size, now, self._hooks.check_waiting), self._appends, len(rows)
        self._next_seq += events
        appends.queue.append(arrival)
        appends.events += events
        appends.size += size
        self._writer.append(arrival)
        return arrival

    def _has_room(self, events: int, size: int) -> bool:
        """Whether the disk has room, and not too much is on its way there."""
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

    @property
    def fullness(self) -> str:
        """How full it is, for a message."""
        used, most = self._used_bytes, self._journal.max_bytes
        return f"{used:,} of {most:,} bytes on disk, {counted(self._appends.events, 'event')} on the way there"

    def claim(self, offered: SharedOutcome) -> None:
        """Accept the events of one call now, whether they are stored or not."""
        assert isinstance(offered, PendingAppend), "each call is an arrival here"  # noqa: S101 an invariant
        offered.is_claimed = True
        self._opened.count(offered)

    async def stored(self, offered: SharedOutcome) -> None:
        """Wait until the event of one call is stored, and accept it; cancelled, it leaves nothing behind."""
        arrival = offered
        assert isinstance(arrival, PendingAppend), "each call is an arrival here"  # noqa: S101 an invariant
        arrival.answered = self._new_signal()  # the disk answers in the loop, and so not before this awaits
        try:
            await arrival.answered
            arrival.is_claimed = arrival.error is None
        finally:
            if arrival.is_claimed is None:
                arrival.is_claimed = False
            self._advance()
        if arrival.error is not None:
            raise arrival.error.with_traceback(None)
        if not arrival.is_gone:  # a call before it has not had its turn yet
            self._opened.count(arrival)

    def _advance(self) -> None:
        """Let the oldest calls go on that are both answered by the disk and claimed or withdrawn."""
        appends = self._appends
        queue, window = appends.queue, self._opened
        while queue and (arrival := queue[0]).is_answered:
            if arrival.is_claimed is None:
                return  # its caller comes next, and goes on
            queue.popleft()
            arrival.is_gone = True
            appends.events -= len(arrival.rows)
            appends.size -= arrival.size
            if arrival.error is not None:
                window.refuse(arrival, arrival.error)
            elif arrival.is_claimed:
                window.admit(arrival)
            else:
                window.withdraw(arrival)
        # that was the last of those whose commit has just ended
        self.refill()
        self._hooks.on_progress()

    @property
    def _opened(self) -> Loader:
        assert self._loader is not None, "nothing comes here before the journal is open"  # noqa: S101 an invariant
        return self._loader

    # ---------------------------------------------------------------- batches

    async def seal(self, batch: Batch) -> None:
        """Wait until the disk knows that this batch is about to be sent."""
        if not batch.is_recorded:
            sealed = anyio.Event()  # of this very call: an answer to an earlier one, which was cancelled, means nothing
            self._writer.seal(batch.segment, batch.seqs, batch.mobile, batch.email, sealed.set)
            await sealed.wait()
            batch.is_recorded = True

    def unseal(self, batch: Batch) -> None:
        """The batch was clearly not applied: it is sealed anew before it goes again, whole or in parts."""
        batch.is_recorded = False
        self._writer.unseal(batch.segment, batch.seqs[0])

    def forget(self, batch: Batch) -> None:
        """The batch was delivered."""
        self._writer.ack(batch.segment, batch.seqs)
        self._settle(batch)

    def dead_letter(self, batch: Batch, error: DeliveryError) -> None:
        """The batch will not arrive: it goes to the dead letters."""
        events = zip(batch.seqs, batch.as_events(), strict=True)
        self._writer.dead_letter(batch.segment, [DeadLetterEntry(seq, event, error) for seq, event in events])
        self._settle(batch)

    def _settle(self, batch: Batch) -> None:
        self._opened.settle(batch.segment, len(batch.seqs))


_KEPT = ClientClosed("the client was closed before delivery; the event is kept in the journal for the next client.")
