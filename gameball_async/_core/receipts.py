"""The outcome of events: shared by the batch, asked for through a receipt that costs next to nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import suppress
from typing import Any, cast

import anyio
import attrs
import msgspec

from ..errors import DeliveryError, Dropped, LifecycleError, OutcomeUnknown, Rejected


def check_stack(frames: int = 50) -> None:
    """Raise RecursionError unless this many calls may be nested here: before a change that must not end half-way."""
    try:
        sys._getframe(sys.getrecursionlimit() // 5)  # noqa: SLF001 documented; nested calls would cost five times as much
    except ValueError:
        return  # nearly always: the stack is far from its limit
    _call_nested(frames)


def _call_nested(frames: int) -> None:
    if frames:
        _call_nested(frames - 1)


class Notifier(msgspec.Struct, eq=False):
    """Wakes all tasks that wait at this moment. Reusable; not bound to one event loop."""

    _event: anyio.Event | None = None
    _waiting: int = 0

    def ring(self) -> None:
        """Wake all waiting tasks; where the stack may be deep, callers call `check_stack` first."""
        if self._event is not None:
            with suppress(RuntimeError):  # the waiters' loop has ended, or runs in another thread
                self._event.set()
            self._event = None

    async def wait(self) -> None:
        """Wait for the next call of `ring`."""
        event = self._event = self._event or anyio.Event()
        self._waiting += 1
        try:
            await event.wait()
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._event = None  # an event belongs to one loop, and the next waiter may run in another


JobId = int | str
"""How Gameball identifies a job."""


@attrs.frozen(kw_only=True)
class Delivered:
    """Gameball accepted the event; rewarding it is Gameball's own, later step.

    Attributes:
        status: the HTTP status of the answer.
        attempts: requests it took, 1 if the first one succeeded.
        maybe_duplicate: True if an earlier attempt may have been applied as well: its response was
            lost, and the API has no event id that would identify duplicates.
        confirmed: False if Gameball accepted the event as part of a job, and it is unknown how that ended: its status
            could not be found, it did not progress, or the client was closed first.
        job: the job that the event was sent with; None if it was sent in a single request.
    """

    status: int
    attempts: int = 1
    maybe_duplicate: bool = False
    confirmed: bool = True
    job: JobId | None = None


Outcome = Delivered | DeliveryError


class Counters:
    """Event counts: accepted = delivered + rejected + dropped + unknown + pending.

    The filtered ones are a part of the dropped ones, and the unconfirmed ones of the delivered ones; the invalid ones
    were not accepted.
    """

    __slots__ = (
        "accepted",
        "delivered",
        "dropped",
        "filtered",
        "invalid",
        "pending",
        "pending_bytes",
        "rejected",
        "unconfirmed",
        "unknown",
    )

    def __init__(self) -> None:
        self.accepted = self.delivered = self.rejected = self.dropped = self.unknown = 0
        self.filtered = self.invalid = self.unconfirmed = 0
        self.pending = self.pending_bytes = 0

    def settle(self, events: int, size: int, outcome: Outcome) -> None:
        """Count the outcome of events that were pending."""
        self.pending -= events
        self.pending_bytes -= size
        match outcome:
            case Delivered():
                self.delivered += events
                if not outcome.confirmed:
                    self.unconfirmed += events
            case Rejected():
                self.rejected += events
            case Dropped():
                self.dropped += events
            case OutcomeUnknown():
                self.unknown += events
            case _:  # pragma: no cover
                raise AssertionError(f"unknown outcome {outcome!r}")


def _anywhere() -> None:
    """Allow to wait for an outcome that belongs to no client."""


@attrs.define(eq=False, weakref_slot=False)
class SharedOutcome:
    """The one outcome of all events of a batch, once there is one.

    Events can be moved to another shared outcome before that: when a refused batch is split, or
    when one event is dropped from it.

    Attributes:
        outcome: the outcome of every event that was not moved away.
        moved: where the events are that were moved away, by name.
        interruption: why there will be no outcome for now, if nothing works at it any more.
        changed: rings when one of the others was set; None while no task waits.
        check: raises where the outcome cannot be waited for: the client is not started, or lives in another loop.
        marks: what an observer returned for the events, by name; nearly always nothing.
        is_durable: whether the events are on disk; None if they are not going there.
    """

    is_durable = cast("bool | None", None)
    outcome: Outcome | None = None
    moved: dict[str, SharedOutcome] | None = None
    interruption: LifecycleError | None = None
    changed: Notifier | None = None
    check: Callable[[], object] = _anywhere
    marks: dict[str, object] | None = None

    def settle(self, outcome: Outcome) -> None:
        """Set the outcome of every event that was not moved away. Once only."""
        assert self.outcome is None, "an outcome is settled once"  # noqa: S101 a broken invariant, not an input
        self.outcome = outcome
        self.marks = None
        if self.changed is not None:
            self.changed.ring()

    def move(self, names: Collection[str], to: SharedOutcome) -> None:
        """Let the named events share another outcome from now on."""
        moved = self.moved = self.moved or {}
        moved.update(dict.fromkeys(names, to))
        if self.marks is not None:
            for name in names:
                to.mark(name, self.marks.pop(name, None))
        self._ring()

    def mark(self, name: str, mark: object) -> None:
        """Keep what an observer returned for an event, until the event has its outcome."""
        if mark is not None and self.outcome is None:
            self.marks = self.marks or {}
            self.marks[name] = mark

    def interrupt(self, error: LifecycleError | None) -> None:
        """Fail waiting receipts with `error`; None resumes."""
        self.interruption = error
        self._ring()

    def _ring(self) -> None:
        if self.changed is not None:
            self.changed.ring()

    def outcome_of(self, name: str) -> Outcome | None:
        """The outcome of the named event, or None while it is pending."""
        return self._holder(name).outcome

    async def wait(self, name: str) -> Outcome:
        """Wait for the outcome of the named event.

        Raises:
            LifecycleError: if nothing works at it, or it cannot be waited for here.
        """
        while (outcome := (holder := self._holder(name)).outcome) is None:
            if holder.interruption is not None:
                raise holder.interruption.with_traceback(None)
            holder.check()
            changed = holder.changed = holder.changed or Notifier()
            await changed.wait()
        return outcome

    def _holder(self, name: str) -> SharedOutcome:
        holder = self
        while holder.moved is not None and name in holder.moved:
            holder = holder.moved[name]
        return holder


class StoredOutcome(SharedOutcome):
    """The outcome of events that go through the journal, until they join a batch: then it is the batch's."""

    __slots__ = ("__weakref__", "_joined", "is_durable")

    _joined: SharedOutcome | None

    def join(self, batch: SharedOutcome) -> None:
        """From now on the batch's outcome is theirs."""
        self._joined = batch
        if self.marks is not None:
            for name, mark in self.marks.items():
                batch.mark(name, mark)
            self.marks = None
        if self.changed is not None:
            self.changed.ring()

    def _holder(self, name: str) -> SharedOutcome:
        return self if self._joined is None else self._joined._holder(name)  # noqa: SLF001 the same class's own


class Receipt(msgspec.Struct, eq=False):  # made for every event, in a third of the time of a class of attrs
    """The promise for one event. Await it for the outcome, or let it go.

    ``await receipt`` returns a `Delivered`, or raises the `DeliveryError` that says why the event
    did not arrive. It may be awaited by several tasks of the client's loop, more than once, and
    cancelled; the event is not affected. Once the outcome is known, it may be awaited in any loop.
    """

    _shared: SharedOutcome
    _name: str

    @property
    def done(self) -> bool:
        """Whether the outcome is known, so that awaiting does not wait."""
        return self._shared.outcome_of(self._name) is not None

    @property
    def durable(self) -> bool:
        """Whether the event is on disk, and so survives the process; without a journal it never is."""
        return bool(self._shared.is_durable)

    def __await__(self) -> Generator[Any, Any, Delivered]:
        """Wait for the outcome of this event.

        Raises:
            Rejected: if Gameball refused the event for good.
            Dropped: if the client gave it up.
            OutcomeUnknown: if it was sent and it is unknown whether it was applied.
            NotStarted: if the client was not started yet, so that nothing is sent.
            WrongLoop: if the client lives in another loop.
            FlusherDied: if the client's task was cancelled before its close; `aclose` brings the outcome.
        """
        outcome = yield from self._shared.wait(self._name).__await__()
        if isinstance(outcome, Delivered):
            return outcome
        # one batch shares one error: without this every waiter would lengthen the same traceback
        raise outcome.with_traceback(None)

    def __repr__(self) -> str:
        return f"<Receipt {self._name!r} {'done' if self.done else 'pending'}>"


def joint_outcome(outcomes: Sequence[Outcome]) -> Delivered:
    """What is true of all of them; raises the first error."""
    delivered = [outcome for outcome in outcomes if isinstance(outcome, Delivered)]
    for outcome in outcomes:
        if not isinstance(outcome, Delivered):
            raise outcome.with_traceback(None)
    return Delivered(
        status=delivered[-1].status,
        attempts=max(outcome.attempts for outcome in delivered),
        maybe_duplicate=any(outcome.maybe_duplicate for outcome in delivered),
        confirmed=all(outcome.confirmed for outcome in delivered),
        job=delivered[-1].job,
    )
