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
from collections.abc import Mapping
from functools import partial

import anyio
import anyio.lowlevel

from .._bell import Bell
from .._buffer import Batch, Buffer, one_change
from .._config import Batching, Journal
from .._journal import JournalWriter, Letter, Source
from .._receipt import Receipt, SharedOutcome
from .._runtime import Runtime
from ..errors import ClientClosed, DeliveryError, Dropped, DropReason, JournalError, LifecycleError, NotStarted
from ._arrivals import Arrival, Arrivals
from ._store import Hooks, Store
from ._window import Window

_LONGEST_CLOSE = 2.0
"""Seconds that a close waits for the disk."""


class Backlog(Store):
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
        self, writer: JournalWriter, journal: Journal, buffer: Buffer, batching: Batching, hooks: Hooks
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
        self._window: Window | None = None
        self._next_seq = 0
        self._arrivals = Arrivals()
        self._dispatched = Bell()

    @property
    def is_open(self) -> bool:
        """Whether it has to be closed."""
        return self._window is not None and not self._window.is_closed

    @property
    def outside(self) -> int:
        """Accepted events that lie outside of the buffer."""
        return 0 if self._window is None else self._window.outside

    @property
    def passed(self) -> int:
        """Events that were outside once and are not any more."""
        return 0 if self._window is None else self._window.passed

    @property
    def used_bytes(self) -> int:
        """Bytes of this process's file that are in use."""
        return 0 if self._window is None else self._writer.used_bytes

    # ---------------------------------------------------------------- life

    async def open(self, runtime: Runtime) -> None:
        """Open the folder, or go on in another loop."""
        notify = partial(runtime.call_soon_from_thread, self._dispatch)
        if self._is_opening:
            self._writer.rebind(notify)
        else:
            self._is_opening = True
            self._writer.open(notify, self._on_opened)
        while self._window is None:
            if self._refusal is not None:
                raise self._refusal
            await self._dispatched.wait()
        self.refill()

    def _on_opened(self, opened: list[Source] | JournalError) -> None:
        if isinstance(opened, JournalError):
            self._refusal = opened
        else:
            self._next_seq = opened[-1].next_seq
            self._window = Window(opened, self._writer, self._buffer, self._batching, self._hooks)

    def _dispatch(self) -> None:
        """Take over what the writer's thread has completed; it is called in the loop."""
        self._writer.dispatch()
        self.refill()
        self._dispatched.ring()
        self._hooks.on_progress()

    def refill(self) -> None:
        """The buffer has room: let in what lies outside."""
        if self._window is not None:
            self._window.refill(self._arrivals.frontier)

    async def close(self) -> None:
        """Put on disk what is queued, and leave the files to the next client."""
        if self._window is None or self._window.is_closed:
            return
        self._is_closing = True
        closed = anyio.Event()
        self._writer.close(closed.set)
        try:
            with anyio.move_on_after(_LONGEST_CLOSE, shield=True):
                await closed.wait()
                while self._arrivals.events:  # whoever waited for the disk has its turn
                    await anyio.lowlevel.checkpoint()
        finally:
            self._window.is_closed = True
            self._buffer.interrupt(_KEPT)
            self.interrupt(_KEPT)

    def interrupt(self, error: LifecycleError | None) -> None:
        """Let whoever waits for the outcome of an event outside hear that nobody works at it; None: somebody does."""
        if self._window is not None:
            self._window.interrupt(error)

    def abandon(self) -> None:
        """Nobody will close it any more: let the writer's thread end."""
        if self._is_opening and not self._is_closing:
            self._is_closing = True
            self._writer.close(lambda: None)

    # ---------------------------------------------------------------- events on their way to the disk

    def offer(
        self, player_unique_id: str, name: str, encoded: bytes, mobile: str | None, email: str | None, now: float
    ) -> Receipt | None:
        """Put one event on its way to the disk; None if there is no room.

        Raises:
            InvalidEvent: if the event alone is larger than a request may be.
            JournalError: if nothing can be stored at present.
            NotStarted: if the client was not started yet.
        """
        self._buffer.check_size(player_unique_id, name, len(encoded), mobile, email)
        outcome = self._queue(player_unique_id, {name: encoded}, mobile, email, now, is_together=False)
        return None if outcome is None else Receipt(outcome, name)

    def offer_batch(
        self, player_unique_id: str, events: Mapping[str, bytes], mobile: str | None, email: str | None, now: float
    ) -> SharedOutcome | None:
        """Put the events of one request on their way to the disk, as accepted; None if there is no room.

        Raises:
            InvalidEvent: if they are larger or more than a request may be.
            JournalError: if nothing can be stored at present.
        """
        self._buffer.check_batch(player_unique_id, events, mobile, email)
        outcome = self._queue(player_unique_id, dict(events), mobile, email, now, is_together=True)
        if outcome is not None:
            self._claim(self._arrivals.of(outcome))
        return outcome

    @one_change
    def _queue(
        self,
        player_unique_id: str,
        events: dict[str, bytes],
        mobile: str | None,
        email: str | None,
        now: float,
        *,
        is_together: bool,
    ) -> SharedOutcome | None:
        if self._window is None:
            raise NotStarted("a client with a journal opens it when it starts: use `async with`, or await start().")
        self.check()
        arrival = Arrival(self._next_seq, player_unique_id, events, mobile, email, now, is_together=is_together)
        if not self._has_room(len(events), arrival.size):
            return None
        self._next_seq += len(events)
        self._arrivals.add(arrival)
        *earlier, last = arrival.rows(time.time())
        for row in earlier:
            self._writer.append(row, _ignore)
        self._writer.append(last, partial(self._on_stored, arrival))
        return arrival.outcome

    def check(self) -> None:
        """Raise if nothing can be stored at present."""
        if (failure := self._writer.failure) is not None:
            raise failure.with_traceback(None)

    def _has_room(self, events: int, size: int) -> bool:
        """Whether the disk has room, and not too much is on its way there."""
        queued, batching = self._arrivals, self._batching
        on_disk = self._writer.used_bytes + queued.size + size + (queued.events + events) * _OVERHEAD
        return (
            on_disk <= self._journal.max_bytes
            and queued.events + events <= batching.buffer_events
            and queued.size + size <= batching.buffer_bytes
        )

    @property
    def fullness(self) -> str:
        """How full it is, for a message."""
        used, most = self._writer.used_bytes, self._journal.max_bytes
        return f"{used:,} of {most:,} bytes on disk, {self._arrivals.events} events on their way there"

    def claim(self, receipt: Receipt) -> None:
        """Accept the event of this receipt now, whether it is stored or not."""
        self._claim(self._arrivals.of(receipt._shared))  # noqa: SLF001 the outcome it was made with

    def _claim(self, arrival: Arrival) -> None:
        arrival.is_claimed = True
        self._window_of(arrival).count(arrival)

    async def stored(self, receipt: Receipt) -> None:
        """Wait until the event of this receipt is stored, and accept it; cancelled, it leaves nothing behind."""
        arrival = self._arrivals.of(receipt._shared)  # noqa: SLF001 the outcome it was made with
        try:
            await arrival.wait()
            arrival.is_claimed = True
        finally:
            arrival.is_claimed = bool(arrival.is_claimed)
            self._advance()
        if arrival.error is not None:
            raise arrival.error.with_traceback(None)

    def _on_stored(self, arrival: Arrival, error: JournalError | None) -> None:
        arrival.answer(error)
        if arrival.is_claimed is not None:
            self._advance()

    def _advance(self) -> None:
        """Let the oldest events go on that are both stored and claimed."""
        for arrival in self._arrivals.decided():
            window = self._window_of(arrival)
            if arrival.error is not None:
                if arrival.was_counted:
                    window.refuse(arrival, _not_stored(arrival.error))
            elif arrival.is_claimed:
                window.admit(arrival)
            else:
                window.withdraw(arrival)

    def _window_of(self, arrival: Arrival) -> Window:
        assert self._window is not None, f"{arrival} was queued while the journal was open"  # noqa: S101 an invariant
        return self._window

    # ---------------------------------------------------------------- batches

    async def seal(self, batch: Batch) -> None:
        """Wait until the disk knows that this batch is about to be sent."""
        if not batch.is_recorded:
            self._writer.seal(batch.origin, batch.seqs, partial(_set_recorded, batch))
            while not batch.is_recorded:
                await self._dispatched.wait()

    def unseal(self, batch: Batch) -> None:
        """The batch is split: its halves are sealed anew."""
        self._writer.unseal(batch.origin, batch.seqs[0])

    def forget(self, batch: Batch) -> None:
        """The batch was delivered."""
        self._writer.forget(batch.origin, batch.seqs)
        self._settle(batch)

    def bury(self, batch: Batch, error: DeliveryError) -> None:
        """The batch will not arrive: it goes to the dead letters."""
        events = zip(batch.seqs, batch.as_events(), strict=True)
        self._writer.bury(batch.origin, [Letter(seq, event, error) for seq, event in events])
        self._settle(batch)

    def _settle(self, batch: Batch) -> None:
        assert self._window is not None, "batches come through the window"  # noqa: S101 an invariant
        self._window.settle(batch.origin, len(batch.seqs))


_KEPT = ClientClosed("the client was closed before delivery; the event is kept in the journal for the next client.")

_OVERHEAD = 128
"""Bytes that an event takes on disk beside itself: its player, its columns, the pages' slack."""


def _ignore(_error: JournalError | None) -> None:
    pass


def _set_recorded(batch: Batch) -> None:
    batch.is_recorded = True


def _not_stored(error: JournalError) -> Dropped:
    return Dropped(f"the event could not be stored: {error}", reason=DropReason.JOURNAL_FAILED)
