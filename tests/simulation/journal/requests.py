"""What the oracle says about each request of a client with a journal, beside what it says of any."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from gameball_async import Delivered, Dropped
from gameball_async._core.pacing import BreakerState

from ..ledger import Placed, Trace
from ..plan import Plan
from ..requests import EPSILON, LONGEST_PAUSE, MOST_CONNECTIONS, Attempt, Requests
from .folder import Sealed
from .history import JournalLedger, Kept


class JournalRequests(Requests):
    """Checks every request against what is durable at that moment."""

    def __init__(
        self,
        plan: Plan,
        ledger: JournalLedger,
        trace: Trace,
        now: Callable[[], float],
        fail: Callable[[str], None],
    ) -> None:
        super().__init__(plan, ledger, trace, now, fail)
        self._kept = ledger
        self.sealing: dict[str, tuple[int, ...]] = {}
        self.is_broken = False  # by an error between a batch's taking and its request: its player stands still

    # ---------------------------------------------------------------- start

    def start(self, request: httpx.Request, body: bytes) -> Attempt:
        """Check a request that starts now, and that its seal is durable."""
        attempt = super().start(request, body)
        kept = self._of(attempt)
        keys = [each.key for each in kept if each.key is not None]
        file = next((file for file in self._kept.history.folder.files if keys and file.number == keys[0][0]), None)
        members = tuple(seq for _, seq in keys)
        sealed = None if file is None else file.sealed.get(members[0])
        if file is None or sealed is None or sealed.members != members:
            self._fail(f"#{attempt.number} starts before its seal is durable")
            return attempt
        if missing := [seq for seq in members if seq not in file.rows]:
            self._fail(f"#{attempt.number} carries {missing}, which the folder does not hold")
        self._check_resent(attempt, kept, sealed)
        self._check_uncut(attempt, kept)
        return attempt

    def _check_uncut(self, attempt: Attempt, kept: list[Kept]) -> None:
        """The events of one call of `send` go together for the first time."""
        together = {id(each): each for first in kept for each in self._kept.sent_together.get(first.group, ())}
        if missing := [each.asked.number for each in together.values() if each.is_pending and not each.attempts]:
            self._fail(f"#{attempt.number} is cut: it is without {missing}")

    def _check_resent(self, attempt: Attempt, kept: list[Kept], sealed: Sealed) -> None:
        """What goes under one seal is the same in every life, byte for byte."""
        # under one seal: what was clearly not applied may be unsealed, and then it merges anew, with other contacts
        if sealed.body is None:
            sealed.body = attempt.body
        elif sealed.body != attempt.body:
            self._fail(f"#{attempt.number} is not what was sent under its seal: {sealed.body!r} {attempt.body!r}")
        was = {each.sealed_with for each in kept}
        if kept[0].attempts == 1 and was not in ({()}, {sealed.members}):
            self._fail(f"#{attempt.number} carries {sealed.members}, of which {was} was sealed")

    def _of(self, attempt: Attempt) -> list[Kept]:
        return [self._kept.kept[number] for number in attempt.numbers]

    def _placed(self, events: Mapping[str, Any]) -> list[Placed]:
        strangers = [metadata["n"] for metadata in events.values() if metadata["n"] not in self._ledger.events]
        if strangers:
            self._fail(f"a request carries {strangers}, which are not in this life")
            events = {name: metadata for name, metadata in events.items() if metadata["n"] not in strangers}
        return super()._placed(events)

    def _check_limits(self, attempt: Attempt) -> None:
        if not any(kept.is_restored for kept in self._of(attempt)):  # what was sealed keeps to the limits of then
            super()._check_limits(attempt)

    def _check_time(self, attempt: Attempt) -> None:
        if not self._ends or self._ends[-1] < attempt.started - EPSILON:  # else an answer came that is not read yet
            super()._check_time(attempt)

    # ---------------------------------------------------------------- end

    def apply(self, attempt: Attempt) -> None:
        """Note that the server counted the events of a request."""
        super().apply(attempt)
        for kept in self._of(attempt):
            self._kept.history.applied(kept.story)

    def end(self, attempt: Attempt, meaning: Any) -> None:
        """Note how a request ended; that an answer got lost is counted, and so announced."""
        super().end(attempt, meaning)
        for kept in self._of(attempt):
            kept.story.is_announced |= kept.unsettled_attempt

    # ---------------------------------------------------------------- when nothing is ready

    def check_idle(self) -> None:
        """What is due and in the buffer is under way."""
        assert self.flusher is not None
        breaker, now = self.flusher.breaker, self._now()
        if self.is_broken:
            return
        if breaker.until > now + max(LONGEST_PAUSE, self._plan.retry.maximum) + EPSILON:
            self._fail(f"the client pauses until {breaker.until:.4f}")
        if len(self.in_flight) + len(self.sealing) >= MOST_CONNECTIONS:
            return
        if not self._has_slot(now) or self._keeps_distance(now):
            return
        if breaker.state is not BreakerState.CLOSED and (self.in_flight or self.sealing or self.is_closing_halted):
            return
        if self.flusher._closing_at is not None and (now >= self.flusher._closing_at or self._is_ending):
            return
        for player, queue in self._ledger.queues.items():
            head = self._kept.kept[queue[0].asked.number] if queue else None
            if head and head.is_buffered and player not in self.in_flight and player not in self.sealing:
                due_at = max(self._due_at(head), breaker.until)
                if now > due_at + EPSILON:
                    self._fail(f"event {head.asked.number} is due since {due_at:.4f}, and nobody sends it")

    @property
    def _is_ending(self) -> bool:
        """Whether the journal is being closed, so that what is left is kept."""
        store: Any = self.flusher and self.flusher.storage
        return bool(store._is_closing)

    def _has_slot(self, now: float) -> bool:
        """Whether the rate lets another request go; one that waits for its seal occupies a slot."""
        occupied = len(self.in_flight) + len(self.sealing)
        for most, seconds in self._plan.rate.windows() if self._plan.rate else ():
            recent = len(self._ends) - bisect_right(self._ends, now - seconds - EPSILON)
            if recent + occupied >= most:
                return False
        return True

    def _due_at(self, placed: Placed) -> float:
        if placed.last is None:
            return self._kept.kept[placed.asked.number].buffered_at + self._plan.batching.linger
        return super()._due_at(placed)

    def note_not_sent(self) -> None:
        """Note that a slot was occupied by a request that was never sent."""
        self._ends.append(self._now())

    def drain_bound(self) -> float:
        """The disk takes its time as well."""
        events = len(self._ledger.pending)
        return super().drain_bound() + 10.0 + 1.0 * events + events * self._plan.batching.linger

    # ---------------------------------------------------------------- at the end

    def check_outcome(self, placed: Placed) -> None:
        """What the client says about an event is true; what is kept has no outcome."""
        if placed.outcome is not None:
            super().check_outcome(placed)

    def _check_delivered(self, placed: Placed) -> None:
        outcome = placed.outcome
        if isinstance(outcome, Delivered) and outcome.maybe_duplicate is not placed.unsettled_attempt:
            self._fail(f"event {placed.asked.number} has a receipt that says {outcome}")
        super()._check_delivered(placed)

    def _check_dropped(self, placed: Placed, outcome: Dropped) -> None:
        if outcome.reason.name != "JOURNAL_FAILED":
            if outcome.reason.name in ("CLOSED", "FLUSHER_DIED"):
                self._fail(f"event {placed.asked.number} was dropped, and the journal should have kept it: {outcome}")
            super()._check_dropped(placed, outcome)
            return
        kept = self._kept.kept[placed.asked.number]
        if not kept.is_refused:
            self._fail(f"event {placed.asked.number} was dropped for a journal that did not fail: {outcome}")
