"""Events on their way to the disk, in the order of their calls: stored there or refused, claimed or withdrawn here."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping

import anyio

from .._events import Event
from .._journal import Row
from .._receipt import StoredOutcome
from ..errors import JournalError


class Arrival(StoredOutcome):
    """The events of one call, and the outcome that their receipts wait for until they join a batch.

    Attributes:
        first: the seq of its first event.
        last: the seq of its last event.
        player_unique_id: whose events they are.
        events: each event's JSON member by its name; let go when they are in the buffer, or outside.
        mobile: the mobile number that they came with.
        email: the e-mail address, likewise.
        now: when they came, in seconds of the loop's clock.
        is_together: whether they must go in one request.
        is_answered: whether the disk has spoken.
        error: why it has not stored them.
        is_claimed: whether the caller wants them; None while the caller waits.
        is_gone: whether it has left the queue.
        was_counted: whether they count as accepted already.
        size: bytes of its encoded events.
        answered: set when the disk has spoken about it, or about another that came at about the same time.
    """

    __slots__ = (
        "answered",
        "email",
        "error",
        "events",
        "first",
        "is_answered",
        "is_claimed",
        "is_gone",
        "is_together",
        "last",
        "mobile",
        "now",
        "player_unique_id",
        "size",
        "was_counted",
    )

    def __init__(
        self,
        player_unique_id: str,
        events: Mapping[str, bytes],
        size: int,
        mobile: str | None,
        email: str | None,
        now: float,
        *,
        is_together: bool = False,
    ) -> None:
        super().__init__()
        self.first = self.last = 0
        self.player_unique_id = player_unique_id
        self.events = events
        self.mobile = mobile
        self.email = email
        self.now = now
        self.is_together = is_together
        self.is_answered = False
        self.error: JournalError | None = None
        self.is_claimed: bool | None = None
        self.is_gone = False
        self.was_counted = False
        self.size = size
        self.answered: anyio.Event | None = None

    @property
    def seqs(self) -> tuple[int, ...]:
        """The places of its events in the file."""
        return (self.first,) if self.first == self.last else tuple(range(self.first, self.last + 1))

    def rows(self, first: int, accepted_at: float) -> list[Row]:
        """Its events as they go to the disk, from this place on."""
        self.first, self.last = first, first + len(self.events) - 1
        together = first if self.is_together else None
        return [
            Row(seq, self.player_unique_id, name, encoded, self.mobile, self.email, accepted_at, together)
            for seq, (name, encoded) in enumerate(self.events.items(), first)
        ]

    def answer(self, error: JournalError | None) -> None:
        """Note what the disk has said."""
        self.is_answered, self.error, self.is_durable = True, error, error is None
        if self.answered is not None:
            self.answered.set()

    def as_events(self) -> list[Event]:
        """Its events as the user gets them back."""
        return [
            Event(self.player_unique_id, name, self.mobile, self.email, encoded)
            for name, encoded in self.events.items()
        ]


class Arrivals:
    """The calls whose events are not both stored and claimed yet, and those behind them.

    Attributes:
        events: how many events they bring.
        size: bytes of these.
    """

    def __init__(self) -> None:
        self.events = 0
        self.size = 0
        self._queue: deque[Arrival] = deque()
        self._answered: anyio.Event | None = None

    def add(self, arrival: Arrival) -> None:
        """Append the latest call."""
        self._queue.append(arrival)
        self.events += len(arrival.events)
        self.size += arrival.size

    async def until_answered(self, arrival: Arrival) -> None:
        """Wait until the disk has spoken about this call."""
        while not arrival.is_answered:
            # one event for all that come between two commits: making one costs more than the rest of the wait
            arrival.answered = self._answered = self._answered or anyio.Event()
            await arrival.answered.wait()

    def note_commit(self) -> None:
        """A commit has ended: whoever comes now waits for another."""
        self._answered = None

    @property
    def frontier(self) -> float:
        """The seq of the oldest event that is still on its way; `inf` if there is none."""
        return self._queue[0].first if self._queue else math.inf

    @property
    def is_answered(self) -> bool:
        """Whether the disk has spoken about the oldest call."""
        return bool(self._queue) and self._queue[0].is_answered

    def pop_decided(self) -> Arrival | None:
        """Take out the oldest call if both the disk and the caller have spoken."""
        if not self._queue or not self._queue[0].is_answered or self._queue[0].is_claimed is None:
            return None
        oldest = self._queue.popleft()
        oldest.is_gone = True
        self.events -= len(oldest.events)
        self.size -= oldest.size
        return oldest
