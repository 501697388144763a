"""The queue of producers before a full buffer: first come, first served, cancellable, bounded in time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import TypeVar

import anyio

from .._config import Batching
from .._core.batch import event_bytes, held_bytes
from .._core.buffer import Buffer
from .._core.events import Event
from .._core.receipts import SharedOutcome
from .._journal.journal_storage import JournalStorage
from .._log import counted
from ..errors import BufferFull, Dropped, DropReason
from .callbacks import FailureCallbacks
from .reporting import Reporting
from .storage import MemoryStorage

_T = TypeVar("_T")


class FairQueue:
    """Lets producers try again one after another, as room is made.

    Only the first in the queue is woken, and it passes the turn on when it leaves, whether it was
    admitted, timed out or was cancelled. So no wake-up is lost, and nobody overtakes.
    """

    def __init__(self) -> None:
        self._queue: OrderedDict[anyio.Event, None] = OrderedDict()

    @property
    def is_waited_for(self) -> bool:
        """Whether somebody waits, so that a newcomer must queue up as well."""
        return bool(self._queue)

    async def wait_for(self, attempt: Callable[[], _T | None], timeout: float) -> _T | None:  # noqa: ASYNC109 the user's setting
        """Call `attempt` whenever there may be room, until it returns something.

        Args:
            attempt: takes the room and returns something, or returns None; what it raises passes through.
            timeout: seconds, at most.

        Returns:
            What `attempt` returned, or None when the time was over.
        """
        turn = anyio.Event()
        self._queue[turn] = None
        try:
            with anyio.move_on_after(timeout):
                while True:
                    await turn.wait()
                    if (admitted := attempt()) is not None:
                        return admitted
                    del self._queue[turn]
                    turn = anyio.Event()
                    self._queue[turn] = None
                    self._queue.move_to_end(turn, last=False)
            return None
        finally:
            del self._queue[turn]
            self.room_made()

    def room_made(self) -> None:
        """Give the first in the queue its turn."""
        if self._queue:
            next(iter(self._queue)).set()

    def dismiss(self) -> None:
        """Give everyone a turn at once: what they wait for will not come, and their attempt will say so."""
        for turn in self._queue:
            turn.set()


class Admission:
    """Lets events into the buffer, by the policy of `Batching(when_full=...)`.

    Args:
        buffer: the events in memory.
        store: what keeps events beside it; with a journal, they go through it.
        batching: what happens when there is no room.
        failures: is told of dropped events.
        reporting: likewise.
    """

    def __init__(
        self, buffer: Buffer, store: MemoryStorage, batching: Batching, failures: FailureCallbacks, reporting: Reporting
    ) -> None:
        self.admission = FairQueue()
        self._buffer = buffer
        self._store = store
        self._entrance = store if isinstance(store, JournalStorage) else buffer
        self._batching = batching
        self._failures = failures
        self._reporting = reporting
        self._drops = batching.when_full in ("drop_oldest", "drop_newest")
        self._dropped: list[tuple[Event, Dropped]] = []

    def offer(
        self, player: str, name: str, encoded: bytes, mobile: str | None, email: str | None, now: float
    ) -> SharedOutcome | None:
        """Accept an event, or return None if there is no room, or others wait for room already."""
        if self.admission.is_waited_for:
            return None
        shared = self._entrance.offer(player, name, encoded, mobile, email, now)
        if shared is None and self._drops:
            shared = self._offer_dropping(player, name, encoded, mobile, email, now)
        return shared

    def offer_batch(
        self, player: str, events: Mapping[str, bytes], mobile: str | None, email: str | None, now: float
    ) -> SharedOutcome | None:
        """Accept events as one request, or return None like `offer`; for their sake none of them is dropped."""
        if self.admission.is_waited_for:
            return None
        if self._batching.when_full == "drop_oldest":
            self._buffer.check_batch(player, events, mobile, email)
            self._drop_oldest(len(events), held_bytes(player, events, mobile, email), now)
        shared = self._entrance.offer_batch(player, events, mobile, email, now)
        self._tell(now)
        return shared

    async def wait_to_offer(
        self,
        player: str,
        name: str,
        encoded: bytes,
        mobile: str | None,
        email: str | None,
        now: Callable[[], float],
    ) -> SharedOutcome | None:
        """Accept an event when its turn has come and there is room; None if that takes too long.

        The clock raises if nothing is accepted any more.
        """
        return await self._wait(partial(self._entrance.offer, player, name, encoded, mobile, email), now)

    async def wait_to_offer_batch(
        self, player: str, events: Mapping[str, bytes], mobile: str | None, email: str | None, now: Callable[[], float]
    ) -> SharedOutcome | None:
        """Accept events as one request when their turn has come; like `wait_to_offer`."""
        return await self._wait(partial(self._entrance.offer_batch, player, events, mobile, email), now)

    async def _wait(self, offer: Callable[[float], _T | None], now: Callable[[], float]) -> _T | None:
        if self._batching.when_full != "wait":
            return None
        return await self.admission.wait_for(lambda: offer(now()), self._batching.wait_timeout)

    def full(self, remedy: str) -> BufferFull:
        """The error for an event that found no room."""
        if isinstance(self._store, JournalStorage):
            return BufferFull(
                f"the journal is full: {self._store.fullness}. {remedy}Track the event later, or raise "
                "Journal(max_bytes=...)."
            )
        counts, batching = self._buffer.counts, self._batching
        return BufferFull(
            f"the buffer is full: {counts.pending} of {counted(batching.buffer_events, 'event')}, "
            f"{counts.pending_bytes:,} of {counted(batching.buffer_bytes, 'byte')}. {remedy}"
            "Track the event later, raise Batching(buffer_events=..., buffer_bytes=...), or choose what when_full "
            "drops."
        )

    # ---------------------------------------------------------------- dropping

    def _offer_dropping(
        self, player: str, name: str, encoded: bytes, mobile: str | None, email: str | None, now: float
    ) -> SharedOutcome:
        shared = None
        size = event_bytes(player, name, encoded, mobile, email)
        if self._batching.when_full == "drop_oldest" and self._drop_oldest(1, size, now):
            shared = self._buffer.offer(player, name, encoded, mobile, email, now)
        if shared is None:
            error = self._error()
            shared = self._buffer.refuse_newest(encoded, error)
            self._dropped.append((Event(player, name, mobile, email, encoded), error))
        self._tell(now)
        return shared

    def _drop_oldest(self, events: int, size: int, now: float) -> bool:
        """Make room by giving up the oldest events; False if what is left is being sent."""
        while not self._buffer.has_room(events, size):
            error = self._error()
            event = self._buffer.drop_oldest(error, now)
            if event is None:
                return False
            self._dropped.append((event, error))
        return True

    def _tell(self, now: float) -> None:
        """Tell what was dropped, when the call is done: an observer that tracks would take the room again."""
        dropped, self._dropped = self._dropped, []
        for event, error in dropped:
            self._failures.add([event], error)
            self._reporting.failed([event.name], error)
        if dropped:
            self._reporting.tell(now)

    def _error(self) -> Dropped:
        return Dropped(
            f"the buffer was full and Batching(when_full={self._batching.when_full!r}) gave it up: raise "
            "buffer_events or buffer_bytes, or choose when_full='wait'.",
            reason=DropReason.BUFFER_FULL,
        )


class ObservedAdmission(Admission):
    """Tells of each event that it lets in: in the call, and so in the caller's context.

    A class of its own, so that an event costs nothing more where nobody wants to see it.
    """

    def offer(
        self, player: str, name: str, encoded: bytes, mobile: str | None, email: str | None, now: float
    ) -> SharedOutcome | None:
        """Accept an event, or return None."""
        return self._seen(super().offer(player, name, encoded, mobile, email, now), (name,))

    async def wait_to_offer(
        self,
        player: str,
        name: str,
        encoded: bytes,
        mobile: str | None,
        email: str | None,
        now: Callable[[], float],
    ) -> SharedOutcome | None:
        """Accept an event when its turn has come, or return None."""
        return self._seen(await super().wait_to_offer(player, name, encoded, mobile, email, now), (name,))

    def offer_batch(
        self, player: str, events: Mapping[str, bytes], mobile: str | None, email: str | None, now: float
    ) -> SharedOutcome | None:
        """Accept events as one request, or return None."""
        return self._seen(super().offer_batch(player, events, mobile, email, now), events)

    async def wait_to_offer_batch(
        self, player: str, events: Mapping[str, bytes], mobile: str | None, email: str | None, now: Callable[[], float]
    ) -> SharedOutcome | None:
        """Accept events as one request when their turn has come, or return None."""
        return self._seen(await super().wait_to_offer_batch(player, events, mobile, email, now), events)

    def _seen(self, shared: SharedOutcome | None, names: Collection[str]) -> SharedOutcome | None:
        if shared is not None:
            self._reporting.tracked(shared, names)
        return shared
