"""What the oracle says about calls: who may wait for what, how long, in which order, and which error is true."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import attrs

from gameball_async import (
    BufferFull,
    ClientClosed,
    ClientHalted,
    CloseReport,
    Delivered,
    FlusherDied,
    FlushTimeout,
    InvalidEvent,
    LifecycleError,
    NotStarted,
)
from gameball_async._core.events import encode_event
from gameball_async._engine.flusher import Flusher

from .ledger import Ledger, Placed, held_bytes
from .plan import Plan
from .requests import EPSILON, Requests

Kind = Literal["track", "nowait", "send", "flush", "await", "close", "start"]


@attrs.define(eq=False, kw_only=True)
class Call:
    """A call that did not return yet.

    Attributes:
        placed: the events that it places, waits for or covers.
        deadline: when it has to have returned.
    """

    number: int
    kind: Kind
    began: float
    placed: tuple[Placed, ...]
    deadline: float

    @property
    def waits_for_room(self) -> bool:
        """Whether its events are not accepted yet."""
        return self.kind in ("track", "send") and self.placed[0].order is None

    @property
    def size(self) -> int:
        """Bytes of the events that it places."""
        return sum(len(encode_event(placed.asked.name, placed.asked.metadata)) for placed in self.placed)

    @property
    def held(self) -> int:
        """Bytes that its events count with in the buffer, if they are a batch of their own."""
        first = self.placed[0].asked
        contact = len(first.mobile or "") + len(first.email or "")
        return contact + sum(
            held_bytes(placed.asked, len(encode_event(placed.asked.name, placed.asked.metadata)))
            for placed in self.placed
        )


@attrs.define
class Life:
    """Where the client is in its life, as far as the simulation brought it there.

    Attributes:
        closing_from: settlements before the first close began; None before that.
        is_killed: whether the flusher was cancelled or crashed.
        is_dead: whether it had time to show it.
        callbacks: calls of `on_failure` that did not return yet.
    """

    is_started: bool = False
    closing_from: int | None = None
    is_killed: bool = False
    is_dead: bool = False
    callbacks: int = 0

    @property
    def accepts(self) -> bool:
        """Whether events may be accepted."""
        return self.closing_from is None and not self.is_dead


class Calls:
    """Every call that is open, and whether it may be."""

    def __init__(
        self, plan: Plan, ledger: Ledger, requests: Requests, now: Callable[[], float], fail: Callable[[str], None]
    ) -> None:
        self._plan = plan
        self._ledger = ledger
        self._requests = requests
        self._now = now
        self._fail = fail
        self._open: dict[int, Call] = {}
        self._numbers = 0
        self.life = Life()

    # ---------------------------------------------------------------- begin and end

    def begin(self, kind: Kind, placed: Iterable[Placed] = (), timeout: float = float("inf")) -> Call:
        """Note that a call begins."""
        self._numbers += 1
        now = self._now()
        call = Call(number=self._numbers, kind=kind, began=now, placed=tuple(placed), deadline=now + timeout)
        self._open[call.number] = call
        if kind == "flush":
            self._requests.awaits(+1)
        return call

    def end(self, call: Call) -> None:
        """Note that it returned, raised or was cancelled."""
        del self._open[call.number]
        if call.kind == "flush":
            self._requests.awaits(-1)
        self._check_deadline(call)

    def accepted(self, placed: Placed) -> None:
        """Check an acceptance: the client takes events, and nobody is overtaken."""
        if not self.life.accepts:
            self._fail(f"event {placed.asked.number} was accepted by a client that takes none")
        call = next((call for call in self._open.values() if placed in call.placed), None)
        if call is None:
            self._fail(f"event {placed.asked.number} was accepted after its call had ended")
        if self._plan.batching.when_full != "wait" or not self.life.is_started:
            return
        first = next((call for call in self._open.values() if call.waits_for_room), None)
        if first is not None and call is not None and first.number < call.number:
            self._fail(f"event {placed.asked.number} overtook event {first.placed[0].asked.number}, which waits")

    def begin_close(self) -> None:
        """Note that the client is being closed."""
        if self.life.closing_from is None:
            self.life.closing_from = self._ledger.settlements
            self._requests.ending_at = min(self._now(), self._requests.ending_at)
            self._requests.awaits(+1)
            if not self.life.is_started:
                self._ledger.rebase_clock()

    # ---------------------------------------------------------------- when nothing is ready

    def check_idle(self, flusher: Flusher) -> None:
        """Nobody waits for what is there already, or longer than allowed."""
        is_first = True
        for call in self._open.values():
            self._check_deadline(call)
            if call.waits_for_room:
                if is_first and flusher.buffer.has_room(len(call.placed), call.held):
                    self._fail(f"a {call.kind} waits although there is room for it")
                is_first = False
            elif self._waits_in_vain(call):
                self._fail(f"{call.kind} of {call.began:.4f} waits for nothing")

    def _check_deadline(self, call: Call) -> None:
        if self._now() > call.deadline + EPSILON:
            self._fail(f"{call.kind} of {call.began:.4f} waited on after its deadline {call.deadline:.4f}")

    def _waits_in_vain(self, call: Call) -> bool:
        if any(placed.is_pending for placed in call.placed):
            return False
        if call.kind == "close":
            return not (self._ledger.pending or self._requests.in_flight or self.life.callbacks)
        return True

    # ---------------------------------------------------------------- what a call brought

    def check_error(self, call: Call, error: Exception, flusher: Flusher) -> None:
        """Check that a call had to raise this."""
        accepts = call.kind not in ("send", "await", "flush")  # these wait for events that were accepted before
        if accepts and any(placed.order is not None for placed in call.placed):
            self._fail(f"{call.kind} accepted an event and raised {error!r}")
        if not self._is_true(call, error, flusher):
            self._fail(f"{call.kind} of {call.began:.4f} raised {error!r}, which is not so")

    def _is_true(self, call: Call, error: Exception, flusher: Flusher) -> bool:
        truths: dict[type[Exception], Callable[[], bool]] = {
            ClientClosed: lambda: self.life.closing_from is not None,
            FlusherDied: lambda: self.life.is_killed,
            NotStarted: lambda: not self.life.is_started and call.kind != "track",
            ClientHalted: lambda: call.kind == "flush" and self._requests.was_halted,
            FlushTimeout: lambda: self._is_timely(call, error),
            BufferFull: lambda: self._is_full(call, flusher),
            InvalidEvent: lambda: self._is_too_large(call),
            LifecycleError: lambda: flusher.buffer.is_changing,
        }
        return type(error) in truths and truths[type(error)]()

    def _is_timely(self, call: Call, error: Exception) -> bool:
        unsettled = sum(placed.is_pending for placed in call.placed)
        is_now = abs(self._now() - call.deadline) < EPSILON
        return isinstance(error, FlushTimeout) and is_now and error.unsettled == unsettled > 0

    def _is_full(self, call: Call, flusher: Flusher) -> bool:
        if self._plan.batching.when_full == "wait" and call.kind != "nowait" and self.life.is_started:
            return abs(self._now() - call.began - self._plan.batching.wait_timeout) < EPSILON
        has_room = flusher.buffer.has_room(len(call.placed), call.held)
        return not has_room or any(other.waits_for_room for other in self._open.values() if other is not call)

    def _is_too_large(self, call: Call) -> bool:
        batching = self._plan.batching
        most = min(batching.max_events, batching.buffer_events)
        if batching.mode == "bulk" and (call.placed[0].asked.mobile or call.placed[0].asked.email):
            return True  # the items of bulk requests have no contact
        return call.size > batching.max_bytes - 250 or len(call.placed) > most

    def check_flushed(self, call: Call) -> None:
        """A flush that returns has everything settled that was accepted before it."""
        if pending := [placed.asked.number for placed in call.placed if placed.is_pending]:
            self._fail(f"flush of {call.began:.4f} returned before {pending} were settled")

    def check_closed(self, report: CloseReport) -> None:
        """A close that returns leaves nothing, and tells what failed since it began, in order per player."""
        self._requests.is_over = True
        if self._ledger.pending or self._requests.in_flight:
            self._fail(f"the close left {list(self._ledger.pending)} pending, {self._requests.in_flight} in flight")
        told = [self._ledger.events[item.event.metadata["n"]] for item in report.undelivered]
        if any(item.error is not placed.outcome for item, placed in zip(report.undelivered, told, strict=True)):
            self._fail("the close reports other errors than the receipts")
        missing = [placed.asked.number for placed in self._failed_since_close() if placed not in told]
        if missing or len(set(told)) != len(told):
            self._fail(f"the close does not report {missing}, or reports something twice")
        self._check_reported_order(told)

    def _failed_since_close(self) -> list[Placed]:
        since = self.life.closing_from or 0
        return [
            placed
            for placed in self._ledger.accepted
            if not isinstance(placed.outcome, Delivered) and placed.settled is not None and placed.settled >= since
        ]

    def _check_reported_order(self, told: list[Placed]) -> None:
        last: dict[str, int] = {}
        for placed in told:
            assert placed.order is not None
            if placed.order < last.get(placed.asked.player, -1):
                self._fail(f"the close reports event {placed.asked.number} out of its player's order")
            last[placed.asked.player] = placed.order
