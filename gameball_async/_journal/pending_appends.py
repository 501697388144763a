"""Events that are being stored, in the order of their calls."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence

from .._core.receipts import StoredOutcome
from .._engine.backends import Signal
from ..errors import JournalError
from .commands import Append
from .records import StoredEvent


class PendingAppend(StoredOutcome, Append):
    """The events of one call, and the outcome that their receipts wait for until they join a batch.

    Attributes:
        rows: its events, as they go to disk; released when they are buffered or spilled.
        size: bytes that its events count with.
        now: when they came, in seconds of the loop's clock.
        is_answered: whether the writer has completed it.
        error: why it has not stored them.
        is_claimed: whether the caller wants them; None while the caller waits.
        is_gone: whether it has left the queue.
        was_counted: whether they count as accepted already.
        answered: wakes the caller on completion, if it waits.
    """

    __slots__ = ("answered", "error", "is_answered", "is_claimed", "is_gone", "now", "rows", "size", "was_counted")

    def __init__(self, rows: Sequence[StoredEvent], size: int, now: float, check: Callable[[], object]) -> None:
        # the bases' attributes as well: there is one of these for nearly every event, and each call costs
        self.outcome = self.moved = self.interruption = self.changed = self.marks = self._joined = None
        self.is_durable = False
        self.check = check
        self.rows = rows
        self.size = size
        self.now = now
        self.is_answered = False
        self.error: JournalError | None = None
        self.is_claimed: bool | None = None
        self.is_gone = False
        self.was_counted = False
        self.answered: Signal | None = None

    def complete(self, error: JournalError | None) -> None:
        """Record the result, and wake the caller."""
        self.is_answered, self.error, self.is_durable = True, error, error is None
        answered = self.answered
        if answered is not None and not answered.done():  # nor cancelled, with the task that waits
            answered.set_result(None)


class PendingAppends:
    """The calls whose events are not both stored and claimed yet, and those behind them.

    Attributes:
        events: how many events they bring.
        size: bytes that these count with.
        queue: the calls, oldest first; who changes it keeps the two others in step.
    """

    def __init__(self) -> None:
        self.events = 0
        self.size = 0
        self.queue: deque[PendingAppend] = deque()

    @property
    def first_undecided(self) -> float:
        """The seq of the oldest pending event, or `inf`."""
        return self.queue[0].rows[0].seq if self.queue else math.inf

    @property
    def oldest(self) -> PendingAppend | None:
        """The oldest call."""
        return self.queue[0] if self.queue else None
