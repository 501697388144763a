"""Requests beside the events: the status of jobs, and previews. Paced, and sent by tasks of the engine."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

import anyio
import attrs

from .._core.outcome import Answer, Decision
from .._core.pacing import BreakerState, CircuitBreaker, PacedPart
from .._core.receipts import Notifier
from .._core.wire import Call
from ..errors import LifecycleError
from .backends import Backend

if TYPE_CHECKING:
    from .delivery import Delivery

_MOST_IN_FLIGHT = 8
"""Calls in flight at once; at 100 ms of latency these are more than the documented limits allow."""

_NOT_SENT = Answer(verdict=Decision.NOT_SENT)
_INTERRUPTED = Answer(verdict=Decision.INTERRUPTED, words="the request was cancelled on its way")


class NoteAnswer(Protocol):
    """What an answer says about the server."""

    def __call__(self, answer: Answer, *, probe: bool, now: float) -> object:
        """Note it."""


@attrs.define(eq=False)
class _PendingCall:
    call: Call
    private: Iterable[str | None]
    queue: deque[_PendingCall]
    is_probe: bool = attrs.field(default=False, init=False)
    ended: anyio.Event = attrs.field(factory=anyio.Event, init=False)
    answer: Answer = attrs.field(default=_INTERRUPTED, init=False)
    error: LifecycleError | None = attrs.field(default=None, init=False)


class CallQueue:
    """Sends calls in the order in which they were made, inside the limits, and not while the client pauses.

    Args:
        pacing: the part of the limits that is theirs.
        breaker: says when requests may go.
        wake: rings when that has changed, and is rung when calls come or end.
        note: gets each answer.
    """

    def __init__(self, pacing: PacedPart, breaker: CircuitBreaker, wake: Notifier, note: NoteAnswer) -> None:
        self._pacing = pacing
        self._breaker = breaker
        self._wake = wake
        self._note = note
        self._queue: deque[_PendingCall] = deque()
        self._later: deque[_PendingCall] = deque()
        self._in_flight = 0
        self._starting: dict[_PendingCall, None] = {}  # their tasks have not begun

    async def request(self, call: Call, private: Iterable[str | None] = (), *, is_urgent: bool = True) -> Answer:
        """Send a call as soon as it may go, and return what the attempt brought.

        Args:
            call: what is sent.
            private: what must not appear in the answer's message, besides the keys.
            is_urgent: whether it goes before those that are not.

        Raises:
            LifecycleError: if the client is closed first.
        """
        queue = self._queue if is_urgent else self._later
        pending = _PendingCall(call, private, queue)
        queue.append(pending)
        self._wake.ring()
        try:
            await pending.ended.wait()
        finally:
            if pending in queue:
                queue.remove(pending)
        if pending.error is not None:
            raise pending.error.with_traceback(None)
        return pending.answer

    def end(self, error: LifecycleError) -> None:
        """Fail the calls that were not sent."""
        while (pending := self._next()) is not None:
            pending.error = error
            pending.ended.set()

    def is_due(self, now: float) -> bool:
        """Whether a call is about to be sent, so that a bulk request has to wait."""
        return bool(self._queue or self._later) and self._allowed_at(now) <= now

    async def serve(self, delivery: Delivery, backend: Backend, now: Callable[[], float]) -> None:
        """Send calls until cancelled."""
        try:
            async with anyio.create_task_group() as tasks:
                while True:
                    if not (self._queue or self._later) or (allowed_at := self._allowed_at(now())) == math.inf:
                        await self._wake.wait()
                    elif allowed_at > now():
                        with anyio.move_on_after(allowed_at - now()):
                            await self._wake.wait()
                    elif (pending := self._next()) is not None:
                        self._in_flight += 1
                        self._starting[pending] = None
                        self._pacing.start(now())
                        pending.is_probe = self._breaker.state is not BreakerState.CLOSED and self._breaker.start()
                        tasks.start_soon(backend.protected(self._send), pending, delivery, now)
        finally:
            while self._starting:  # asyncio does not begin a task that is cancelled first
                self._end(self._starting.popitem()[0], now())

    def _next(self) -> _PendingCall | None:
        queue = self._queue or self._later
        return queue.popleft() if queue else None

    def _allowed_at(self, now: float) -> float:
        if self._in_flight >= _MOST_IN_FLIGHT:
            return math.inf
        is_closed = self._breaker.state is BreakerState.CLOSED
        return max(self._pacing.free_at(now), now if is_closed else self._breaker.next_request_at())

    async def _send(self, pending: _PendingCall, delivery: Delivery, now: Callable[[], float]) -> None:
        self._starting.pop(pending, None)
        is_open = self._breaker.state is BreakerState.CLOSED or (pending.is_probe and self._breaker.until <= now())
        if not is_open:  # it tripped since, or its pause got longer
            self._put_back(pending, now())
            return
        try:
            pending.answer = await delivery.fetch(pending.call, pending.private)
        finally:
            self._end(pending, now())

    def _put_back(self, pending: _PendingCall, now: float) -> None:
        self._in_flight -= 1
        self._pacing.finish(now)
        self._note(_NOT_SENT, probe=pending.is_probe, now=now)
        pending.queue.appendleft(pending)
        self._wake.ring()

    def _end(self, pending: _PendingCall, now: float) -> None:
        self._in_flight -= 1
        self._pacing.finish(now)
        self._note(pending.answer, probe=pending.is_probe, now=now)
        pending.ended.set()
        self._wake.ring()
