"""Who is told what the flusher does: the log, and the user's observer, if there is one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Concatenate, ParamSpec, TypeVar
from urllib.parse import urlsplit

import anyio

from .._core.batch import Batch
from .._core.events import EncodedEvent
from .._core.observer import ObservedClient, Observer, PauseReason, RequestEnd, RequestStart
from .._core.outcome import FAILURES, Answer, ServerHealth
from .._core.pacing import BreakerState, CircuitBreaker
from .._core.receipts import Delivered, SharedOutcome
from .._log import logger
from .._notifier import Notifier
from ..errors import ClientHalted, DeliveryError, Dropped, DropReason
from .log_reporter import LogReporter

_P = ParamSpec("_P")
_T = TypeVar("_T")

_log = logger("gameball_async")

_REASONS = {
    BreakerState.PAUSED: PauseReason.REQUESTED,
    BreakerState.OUTAGE: PauseReason.OUTAGE,
    BreakerState.HALTED: PauseReason.HALT,
}


_LATE = 1.0
"""Seconds by which a timer is late only if the loop was blocked, or the process suspended."""


class SentRequest:
    """A request on its way.

    Attributes:
        batch: whose events it brings.
        body: its bytes.
        started_at: when it was sent.
        start: what the observer was told of it, if there is one.
    """

    __slots__ = ("batch", "body", "start", "started_at")

    def __init__(self, batch: Batch, body: bytes, started_at: float) -> None:
        self.batch = batch
        self.body = body
        self.started_at = started_at
        self.start: RequestStart | None = None


class Reporting:
    """Tells the log and the observer; what the observer does wrong harms nothing.

    Args:
        observer: the user's, or None.
        client: what it knows of the client.
        waiting: gives the number of events without an outcome.

    Attributes:
        sees_tracks: whether the observer wants to see each event that is tracked.
    """

    def __init__(self, observer: Observer | None, client: ObservedClient, waiting: Callable[[], int]) -> None:
        self.sees_tracks = observer is not None and _overrides(observer.on_track, Observer.on_track)
        self._is_watched = observer is not None
        self._observer = Observer() if observer is None else observer
        self._client = client
        self._lines = LogReporter(waiting, _origin(client.base_url))
        self._due = Notifier()
        self._wakes_at = math.inf
        self._reporting: anyio.CancelScope | None = None
        self._state = BreakerState.OPEN
        self._paused_at = 0.0
        self._is_calling = False
        self._is_started = False
        self._failing: set[str] = set()

    def _call(
        self, method: Callable[Concatenate[ObservedClient, _P], _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T | None:
        """Call the observer, unless it has called us: then it would be told of its own doing without end."""
        if self._is_calling:
            return None
        self._is_calling = True
        try:
            return method(self._client, *args, **kwargs)
        except KeyboardInterrupt:
            raise
        except BaseException as raised:  # noqa: BLE001 the user's mistake must harm nothing
            # no task is being cancelled: nothing was awaited
            self._note_failure(getattr(method, "__name__", "method"), raised)
            return None
        finally:
            self._is_calling = False

    def _note_failure(self, method: str, raised: BaseException) -> None:
        if method not in self._failing:
            self._failing.add(method)
            # neither its text nor its traceback: they may quote an event
            _log.error("the observer's %s raised %s; this is logged once.", method, type(raised).__name__)

    # ---------------------------------------------------------------- life

    def started(self) -> None:
        """The flusher begins, perhaps again."""
        if self._is_watched and not self._is_started:
            self._is_started = True
            self._call(self._observer.on_start)

    def closed(self, now: float) -> None:
        """The client is closed for good."""
        self._lines.tell_all(now)
        if self._is_started:
            self._is_started = False
            self._call(self._observer.on_close)

    # ---------------------------------------------------------------- events

    def tracked(self, shared: SharedOutcome, events: Sequence[EncodedEvent]) -> None:
        """Report accepted events in the caller's context; their marks go where their outcome goes."""
        for event in events:
            shared.mark(event.name, self._call(self._observer.on_track, event.name))

    def delivered(self, events: int, outcome: Delivered) -> None:
        """Events have arrived."""
        if self._is_watched:
            self._call(self._observer.on_settled, events, outcome)

    def failed(self, names: Sequence[str], error: DeliveryError) -> None:
        """Events will not arrive, or may not have; the log hears of it with the next `tell`."""
        self._lines.lost(names, error)
        if self._is_watched:
            self._call(self._observer.on_settled, len(names), error)

    def missing(self, events: int) -> None:
        """A disk has lost events; the journal has said so."""
        if self._is_watched and events:
            self._call(self._observer.on_settled, events, _missing())

    def kept(self, why: str) -> None:
        """The client ends, and what waits is kept in the journal."""
        self._lines.kept(why)

    def tell(self, now: float) -> None:
        """Tell the log of the events that have failed, if it is time."""
        self._lines.tell(now)
        self._plan()

    def _plan(self) -> None:
        """Wake `report` earlier, if there is something to log before it wakes by itself."""
        if self._lines.due_at < self._wakes_at:
            self._due.ring()

    async def report(self, now: Callable[[], float]) -> None:
        """Log in time what no call brings about, such as an answer that does not come; until `finish`."""
        with anyio.CancelScope() as self._reporting:
            while True:
                self._lines.tell(now())
                self._lines.tell_of_outage(now())
                self._wakes_at = self._lines.due_at
                with anyio.move_on_after(self._wakes_at - now()):
                    await self._due.wait()
                if now() > self._wakes_at + _LATE:
                    await anyio.sleep(_LATE)  # the loop stood still: first let it read what has arrived meanwhile

    def finish(self) -> None:
        """Let `report` end."""
        if self._reporting is not None:
            self._reporting.cancel()

    def tell_all(self, now: float) -> None:
        """Tell the log what was counted and not told yet: there may be no other time."""
        self._lines.tell_all(now)

    # ---------------------------------------------------------------- requests

    def request_starts(self, batch: Batch, body: bytes, now: float) -> SentRequest:
        """A request is about to be sent; what is returned is for its end."""
        sending = SentRequest(batch, body, now)
        self._lines.request_starts(now)
        self._plan()
        if self._is_watched:
            marks = batch.shared.marks or {}
            sending.start = RequestStart(
                events=tuple(batch.events),
                size=len(body),
                attempt=batch.attempts,
                marks=tuple(marks[name] for name in batch.events if name in marks),
            )
            self._call(self._observer.on_request_start, sending.start)
        return sending

    def request_ends(self, sending: SentRequest, answer: Answer, now: float) -> None:
        """It has ended."""
        seconds = now - sending.started_at
        self._lines.request_ends(len(sending.batch.events), sending.batch.attempts, answer, seconds, now)
        self._plan()
        if sending.start is not None:
            end = RequestEnd(verdict=answer.verdict.label, status=answer.status, code=answer.code, seconds=seconds)
            self._call(self._observer.on_request_end, sending.start, end)

    # ---------------------------------------------------------------- pauses

    def look_at(self, breaker: CircuitBreaker, answer: Answer, halted: ClientHalted | None, now: float) -> None:
        """A request has ended: see what it meant for the gate."""
        before, self._state = self._state, breaker.state
        if breaker.state is not BreakerState.OPEN:
            self._lines.held(breaker.state, answer, halted, breaker.until, now)
        elif answer.verdict in FAILURES:
            self._lines.failed(answer)
        elif answer.health is not ServerHealth.NONE:
            self._lines.freed(now)
        if breaker.state is not before and self._is_watched:
            self._tell_of_change(before, now)

    def _tell_of_change(self, before: BreakerState, now: float) -> None:
        if before is not BreakerState.OPEN:
            self._call(self._observer.on_resume, _REASONS[before], now - self._paused_at)
        self._paused_at = now
        if self._state is not BreakerState.OPEN:
            self._call(self._observer.on_pause, _REASONS[self._state])


def _origin(base_url: str) -> str:
    """An address without its path, which may hold a secret."""
    parts = urlsplit(base_url)
    return f"{parts.scheme}://{parts.netloc}"


def _missing() -> Dropped:
    return Dropped("the journal's disk has lost the event.", reason=DropReason.JOURNAL_FAILED)


def _overrides(method: object, empty: object) -> bool:
    return getattr(method, "__func__", None) is not empty
