"""Admission of events: a fair queue before a full buffer, and what is dropped instead of waiting."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TypeVar

import anyio

from .._config import Batching
from .._core.batch import request_bytes
from .._core.buffer import Buffer
from .._core.draft import NotSent
from .._core.events import EncodedEvent, Event, as_event
from .._core.receipts import SharedOutcome, check_stack
from ..errors import Dropped, DropReason
from .callbacks import FailureCallbacks
from .reporting import Reporting
from .storage import Storage

_T = TypeVar("_T")

_REPORTING = 100
"""Nested calls that a log handler or an observer may need, beside those of the buffer."""


class FairQueue:
    """Lets producers try again one after another, as room is made.

    Only the first in the queue is woken, and it passes the turn on when it leaves, whether it was
    admitted, timed out or was cancelled. So no wake-up is lost, and no caller overtakes another.

    Attributes:
        turns: wakes the waiting callers, in order; while there are any, a new caller has to queue up.
    """

    def __init__(self) -> None:
        self.turns: OrderedDict[anyio.Event, None] = OrderedDict()

    async def wait_for(self, attempt: Callable[[], _T | None], timeout: float) -> _T | None:  # noqa: ASYNC109 the user's setting
        """Call `attempt` whenever there may be room, until it returns something.

        Args:
            attempt: takes the room and returns something, or returns None; what it raises passes through.
            timeout: seconds, at most.

        Returns:
            What `attempt` returned, or None when the time was over.
        """
        turn = anyio.Event()
        self.turns[turn] = None
        try:
            with anyio.move_on_after(timeout):
                while True:
                    await turn.wait()
                    if (admitted := attempt()) is not None:
                        return admitted
                    del self.turns[turn]
                    turn = anyio.Event()
                    self.turns[turn] = None
                    self.turns.move_to_end(turn, last=False)
            return None
        finally:
            del self.turns[turn]
            self.room_made()

    def room_made(self) -> None:
        """Give the first in the queue its turn."""
        if self.turns:
            next(iter(self.turns)).set()

    def dismiss(self) -> None:
        """Give everyone a turn at once: what they wait for will not come, and their attempt will say so."""
        for turn in self.turns:
            turn.set()


class Admission:
    """Passes events to the storage, by the policy of `Batching(when_full=...)`.

    Args:
        buffer: what events are dropped from.
        storage: what accepts them.
        batching: what happens when there is no room.
        failures: gets dropped events.
        reporting: reports them, and events that are tracked.

    Attributes:
        queue: the callers that wait for room.
    """

    def __init__(
        self, buffer: Buffer, storage: Storage, batching: Batching, failures: FailureCallbacks, reporting: Reporting
    ) -> None:
        self.queue = FairQueue()
        self._buffer = buffer
        self._storage = storage
        self._batching = batching
        self._failures = failures
        self._reporting = reporting
        self._is_observed = reporting.sees_tracks
        self._drops = batching.when_full in ("drop_oldest", "drop_newest")
        self._dropped: list[tuple[Event, Dropped]] = []

    def offer(self, event: EncodedEvent, now: float) -> SharedOutcome | None:
        """Accept an event, or return None when full, or other callers wait for room already."""
        if self.queue.turns:
            return None
        if self._is_observed:
            check_stack(_REPORTING)
        shared = self._storage.accept(event, now)
        if shared is None and self._drops:
            shared = self._offer_dropping(event, now)
        if self._is_observed and shared is not None:
            self._reporting.tracked(shared, (event,))
        return shared

    def offer_batch(self, events: Sequence[EncodedEvent], now: float) -> SharedOutcome | None:
        """Accept events as one request, or return None as `offer` does; none of these is dropped."""
        if self.queue.turns:
            return None
        check_stack(_REPORTING)
        if self._batching.when_full == "drop_oldest":
            self._buffer.check_batch(events)
            self._drop_oldest(events, now)
        shared = self._storage.accept_batch(events, now)
        self._report_dropped(now)
        if self._is_observed and shared is not None:
            self._reporting.tracked(shared, events)
        return shared

    async def wait_to_offer(
        self, events: Sequence[EncodedEvent], now: Callable[[], float], *, together: bool = False
    ) -> SharedOutcome | None:
        """Accept an event, or events as one request, when it is their turn and there is room; None on timeout.

        The clock raises if nothing is accepted any more.
        """
        if self._batching.when_full != "wait":
            return None
        check_stack(_REPORTING)
        storage = self._storage

        def attempt() -> SharedOutcome | None:
            return storage.accept_batch(events, now()) if together else storage.accept(events[0], now())

        shared = await self.queue.wait_for(attempt, self._batching.wait_timeout)
        if self._is_observed and shared is not None:
            self._reporting.tracked(shared, events)
        return shared

    # ---------------------------------------------------------------- dropping

    def settle_not_sent(self, not_sent: NotSent, now: float) -> SharedOutcome:
        """Count an event that has its outcome already; log and report it unless that was meant."""
        check_stack(_REPORTING)
        event, error = not_sent.event, not_sent.error
        shared = SharedOutcome()
        shared.settle(error)
        if not_sent.is_accepted:
            self._buffer.write_off(1)
            if self._is_observed:
                self._reporting.tracked(shared, (event,))
            self._reporting.settled(1, error)
        else:
            self._buffer.counts.invalid += 1
        if not_sent.is_meant:
            self._buffer.counts.filtered += 1
        else:
            self._failures.add([event], error)
            self._reporting.log.add_failed([event.name], error)
            self._reporting.log_failed(now)
        return shared

    def _offer_dropping(self, event: EncodedEvent, now: float) -> SharedOutcome:
        check_stack(_REPORTING)
        shared = None
        if self._batching.when_full == "drop_oldest" and self._drop_oldest((event,), now):
            shared = self._storage.accept(event, now)
        if shared is None:
            error = self._error()
            shared = self._buffer.refuse_newest(event, error)
            self._dropped.append((as_event(event), error))
        self._report_dropped(now)
        return shared

    def _drop_oldest(self, events: Sequence[EncodedEvent], now: float) -> bool:
        """Make room for events by dropping the oldest ones; False if all that are left are being sent."""
        size = request_bytes(events)
        while not self._buffer.has_room(len(events), size):
            error = self._error()
            event = self._buffer.drop_oldest(error, now)
            if event is None:
                return False
            self._dropped.append((event, error))
        return True

    def _report_dropped(self, now: float) -> None:
        """Report dropped events when the call is done: an observer that tracks would take the room again."""
        dropped, self._dropped = self._dropped, []
        for event, error in dropped:
            self._failures.add([event], error)
            self._reporting.failed([event.name], error)
        if dropped:
            self._reporting.log_failed(now)

    def _error(self) -> Dropped:
        return Dropped(
            f"the buffer was full and Batching(when_full={self._batching.when_full!r}) gave it up: raise "
            "buffer_events or buffer_bytes, or choose when_full='wait'.",
            reason=DropReason.BUFFER_FULL,
        )
