"""The truth about every event: who placed it, when it was accepted, what came of it. Written from outside."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, deque
from collections.abc import Callable, Collection
from typing import Any

import attrs

from gameball_async import Delivered, DeliveryError, Dropped, OutcomeUnknown, Receipt, Rejected, Stats
from gameball_async._core.receipts import SharedOutcome

from .plan import Track

Outcome = Delivered | DeliveryError


OBSERVABLE = frozenset(
    {"life", "accepted", "request", "ended", "settled", "told", "flush", "close", "closed", "calm", "kill", "crash"}
    | {"abandoned", "found"}
)
"""Kinds of lines that say what users and the server see, in words of the simulation's own."""


class Trace:
    """What happened, in order; two runs of one seed have the same.

    Args:
        now: the virtual time.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._entries: list[tuple[float, str, tuple[object, ...]]] = []
        self._observed = hashlib.sha256()

    def note(self, what: str, *details: object) -> None:
        """Write one line."""
        self._entries.append((self._now(), what, details))
        if what in OBSERVABLE:
            self.observe(what, *details)
        elif what == "log":
            self.observe(what)  # that there is a line, and not how it is worded

    def observe(self, *details: object) -> None:
        """Add to the fingerprint of what is observable, without a line."""
        self._observed.update(f"{self._now():.6f} {details!r}\n".encode())

    @property
    def observed(self) -> str:
        """A fingerprint of what users and the server see: it has to stay when only the inside of the client changes."""
        return self._observed.hexdigest()

    def lines(self, last: int | None = None) -> list[str]:
        """The last lines, or all, fit to be read."""
        shown = self._entries if last is None else self._entries[-last:]
        return [f"{at:12.4f}  {what:<10} {' '.join(map(str, details))}" for at, what, details in shown]

    def digest(self) -> str:
        """A fingerprint of all lines."""
        return hashlib.sha256("\n".join(f"{entry!r}" for entry in self._entries).encode()).hexdigest()


EVENT_OVERHEAD = 450
"""Bytes that every event counts with beside its texts."""

LONGEST_CONTACT = 60
"""Bytes of a mobile number and an e-mail address together, at most."""


def held_bytes(asked: Track, encoded: int) -> int:
    """Bytes that an event counts with in the buffer, beside its batch's contact."""
    return encoded + len(asked.name) + len(asked.player) + EVENT_OVERHEAD


@attrs.define(eq=False, kw_only=True)
class Placed:
    """One event of one call.

    Attributes:
        asked: what was asked for, as the plan has it.
        order: its place among all accepted events; None until it is accepted.
        size: bytes that it counts with in the buffer, beside its batch's contact.
        outcome: the first outcome that its receipt showed.
        settled: its place among all settled events.
        last: the last request that carried it.
        attempts: requests that carried it.
        unsettled_attempt: whether one of them ended without an answer that settles it.
        applied: how often the server counted it.
        told: the errors that `on_failure` was called with.
    """

    asked: Track
    order: int | None = None
    accepted_at: float = 0.0
    size: int = 0
    receipt: Receipt | None = None
    outcome: Outcome | None = None
    settled: int | None = None
    settled_at: float = 0.0
    last: Any = None
    attempts: int = 0
    unsettled_attempt: bool = False
    applied: int = 0
    told: list[DeliveryError] = attrs.Factory(list[DeliveryError])

    @property
    def is_pending(self) -> bool:
        """Whether it was accepted and has no outcome yet."""
        return self.order is not None and self.outcome is None


class Ledger:
    """Every event by its number, and every player's accepted, unsettled events in order.

    Args:
        now: the virtual time.
        fail: takes what is wrong.
        trace: takes what happened.
    """

    def __init__(self, now: Callable[[], float], fail: Callable[[str], None], trace: Trace) -> None:
        self._now = now
        self._fail = fail
        self._trace = trace
        self.events: dict[int, Placed] = {}
        self.accepted: list[Placed] = []
        self.queues: dict[str, deque[Placed]] = {}
        self.pending: dict[int, Placed] = {}
        self.outcomes: Counter[type[Outcome]] = Counter()
        self.settlements = 0

    def asked(self, track: Track) -> Placed:
        """Note that an event is going to be placed."""
        placed = self.events[track.number] = Placed(asked=track)
        return placed

    def accept(self, player: str | None, encoded: bytes, shared: SharedOutcome) -> Placed:
        """Note that the client's buffer took an event over."""
        ((name, metadata),) = json.loads(b"{" + encoded + b"}").items()
        placed = self.events[metadata["n"]]
        if placed.order is not None:
            self._fail(f"event {placed.asked.number} was accepted twice")
        if player not in (None, placed.asked.player) or name != placed.asked.name:
            self._fail(f"event {placed.asked.number} was accepted under another player or name")
        placed.order, placed.accepted_at = len(self.accepted), self._now()
        placed.size, placed.receipt = held_bytes(placed.asked, len(encoded)), Receipt(shared, name)
        self.accepted.append(placed)
        self.pending[placed.asked.number] = placed
        self.queues.setdefault(placed.asked.player, deque()).append(placed)
        self._trace.note("accepted", placed.asked.number, placed.asked.player, name)
        return placed

    def rebase_clock(self) -> None:
        """Forget the time of what was accepted before there was a clock."""
        for placed in self.accepted:
            placed.accepted_at = self._now()

    def collect(self) -> None:
        """Note every outcome that became known."""
        for placed in [placed for placed in self.pending.values() if placed.receipt and placed.receipt.done]:
            self._settle(placed)

    def _settle(self, placed: Placed) -> None:
        assert placed.receipt is not None
        outcome = placed.receipt._shared.outcome_of(placed.asked.name)
        assert outcome is not None
        placed.outcome, placed.settled, placed.settled_at = outcome, self.settlements, self._now()
        self.settlements += 1
        self.outcomes[type(outcome)] += 1
        del self.pending[placed.asked.number]
        self.queues[placed.asked.player].remove(placed)
        self._trace.note("settled", placed.asked.number, type(outcome).__name__)
        self._trace.observe(*_facts(outcome))

    def check(self, stats: Stats) -> None:
        """Conservation: the client's accounts are the truth."""
        truth = {
            "accepted": len(self.accepted),
            "delivered": self.outcomes[Delivered],
            "rejected": self.outcomes[Rejected],
            "dropped": self.outcomes[Dropped],
            "unknown": self.outcomes[OutcomeUnknown],
            "pending": len(self.pending),
        }
        self._check_bytes(stats, self.pending.values())
        for account, expected in truth.items():
            if (told := getattr(stats, account)) != expected:
                self._fail(f"stats say {account}={told}, the truth is {expected}")

    def _check_bytes(self, stats: Stats, held: Collection[Placed]) -> None:
        """The bytes are those of the events, and the contacts of at most as many batches."""
        least = sum(placed.size for placed in held)
        if not least <= stats.buffered_bytes <= least + LONGEST_CONTACT * len(held):
            self._fail(f"stats say buffered_bytes={stats.buffered_bytes}, the truth is {least} and the contacts")

    def check_resolved_once(self) -> None:
        """No receipt changed its mind, and none is pending."""
        for placed in self.accepted:
            shared = placed.receipt._shared if placed.receipt else None
            outcome = shared.outcome_of(placed.asked.name) if shared else None
            if outcome is None:
                self._fail(f"the receipt of event {placed.asked.number} is pending for ever")
            elif outcome is not placed.outcome:
                self._fail(f"the receipt of event {placed.asked.number} changed its outcome")


def _facts(outcome: Outcome) -> tuple[object, ...]:
    """What an outcome says, without its message."""
    if isinstance(outcome, Delivered):
        return (outcome.status, outcome.attempts, outcome.maybe_duplicate)
    reason = outcome.reason.name if isinstance(outcome, Dropped) else None
    return (outcome.status, outcome.code, outcome.may_have_arrived, reason)
