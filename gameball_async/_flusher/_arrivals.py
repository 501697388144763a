"""Events on their way to the disk, in the order of their calls: stored there or refused, claimed or withdrawn here."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator

import anyio

from .._events import Event
from .._journal import Row
from .._receipt import SharedOutcome, StoredOutcome
from ..errors import JournalError


class Arrival:
    """The events of one call.

    Attributes:
        first: the seq of its first event.
        player_unique_id: whose events they are.
        events: each event's JSON member by its name.
        mobile: the mobile number that they came with.
        email: the e-mail address, likewise.
        now: when they came, in seconds of the loop's clock.
        is_together: whether they must go in one request.
        outcome: what the receipts wait for.
        is_stored: whether the disk has them; None while that is open.
        error: why it has not.
        is_claimed: whether the caller wants them; None while the caller waits.
        was_counted: whether they count as accepted already.
        size: bytes of its encoded events.
        answered: set when the disk has spoken, if the caller waits for that.
    """

    __slots__ = (
        "answered",
        "email",
        "error",
        "events",
        "first",
        "is_claimed",
        "is_stored",
        "is_together",
        "mobile",
        "now",
        "outcome",
        "player_unique_id",
        "size",
        "was_counted",
    )

    def __init__(
        self,
        first: int,
        player_unique_id: str,
        events: dict[str, bytes],
        mobile: str | None,
        email: str | None,
        now: float,
        *,
        is_together: bool,
    ) -> None:
        self.first = first
        self.player_unique_id = player_unique_id
        self.events = events
        self.mobile = mobile
        self.email = email
        self.now = now
        self.is_together = is_together
        self.outcome = StoredOutcome()
        self.is_stored: bool | None = None
        self.error: JournalError | None = None
        self.is_claimed: bool | None = None
        self.was_counted = False
        self.size = sum(map(len, events.values()))
        self.answered: anyio.Event | None = None

    @property
    def is_decided(self) -> bool:
        """Whether both the disk and the caller have spoken."""
        return self.is_stored is not None and self.is_claimed is not None

    @property
    def seqs(self) -> tuple[int, ...]:
        """The places of its events in the file."""
        return tuple(range(self.first, self.last + 1))

    @property
    def last(self) -> int:
        """The seq of its last event."""
        return self.first + len(self.events) - 1

    async def wait(self) -> None:
        """Wait until the disk has spoken."""
        if self.is_stored is None:
            self.answered = anyio.Event()
            await self.answered.wait()

    def answer(self, error: JournalError | None) -> None:
        """Note what the disk has said."""
        self.error = error
        self.is_stored = self.outcome.is_durable = error is None
        if self.answered is not None:
            self.answered.set()

    def rows(self, accepted_at: float) -> list[Row]:
        """Its events as they go to the disk."""
        together = self.first if self.is_together else None
        return [
            Row(seq, self.player_unique_id, name, encoded, self.mobile, self.email, accepted_at, together)
            for seq, (name, encoded) in enumerate(self.events.items(), self.first)
        ]

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
        self._queue: OrderedDict[SharedOutcome, Arrival] = OrderedDict()

    def add(self, arrival: Arrival) -> None:
        """Append the latest call."""
        self._queue[arrival.outcome] = arrival
        self.events += len(arrival.events)
        self.size += arrival.size

    def of(self, outcome: SharedOutcome) -> Arrival:
        """The call whose receipts wait for this outcome."""
        return self._queue[outcome]

    @property
    def frontier(self) -> float:
        """The seq of the oldest event that is still on its way; `inf` if there is none."""
        return next(iter(self._queue.values())).first if self._queue else math.inf

    def decided(self) -> Iterator[Arrival]:
        """Take out the oldest calls that are decided, up to the first that is not."""
        while self._queue and (oldest := next(iter(self._queue.values()))).is_decided:
            del self._queue[oldest.outcome]
            self.events -= len(oldest.events)
            self.size -= oldest.size
            yield oldest
