"""Logging and the observer.

The log has a line when something begins and one when it ends, with counts; frequent things are counted, and logged at
most once a minute. No line holds a key, a player's id, a contact or a value of the metadata.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Concatenate, ParamSpec, TypeVar
from urllib.parse import urlsplit

import anyio
import attrs

from .._core.batch import Batch
from .._core.events import EncodedEvent, Event
from .._core.outcome import FAILURES, Answer, Decision, ServerHealth
from .._core.pacing import BreakerState, CircuitBreaker
from .._core.receipts import Delivered, Notifier, SharedOutcome
from .._core.stats import JobReport, ObservedClient, Observer, PauseReason, RequestEnd, RequestStart
from .._log import INTERVAL, LogThrottle, counted, fields, logger
from ..errors import ClientHalted, DeliveryError, Dropped, DropReason, OutcomeUnknown
from .incidents import LINE_KINDS, LONGEST_NAME, AnswerFields, Loss, Outage, answer_fields

_P = ParamSpec("_P")
_T = TypeVar("_T")

_log = logger("gameball_async")

_REASONS = {
    BreakerState.PAUSED: PauseReason.REQUESTED,
    BreakerState.OUTAGE: PauseReason.OUTAGE,
    BreakerState.HALTED: PauseReason.HALT,
}


_LATE = 1.0  # seconds by which a timer is late only if the loop was blocked, or the process suspended
_LONG_PAUSE = 30.0  # seconds of a pause that are worth a line: the rate windows of 30 s bring about shorter ones

PATIENCE = 3.0
"""Seconds without a successful request before an outage is logged, however few requests there are. Two retries with
the default settings fit into it, so that a failure which a retry repairs is no line."""

_STUCK_ATTEMPTS = 5  # these take about 8 s; if one request in five fails, 3 batches in 10,000 need as many

_MOST_KINDS = 50  # of lines about invalid events, whose messages differ by key
_requests_log = logger("gameball_async.requests")


class LogReporter:
    """Decides what is logged, and when."""

    def __init__(self, waiting: Callable[[], int], address: str) -> None:
        self._waiting = waiting
        self._address = address
        self.losses: dict[tuple[type[DeliveryError], str | None], Loss] = {}
        self._outage: Outage | None = None
        self._unlogged = 0
        self._logged_at = -math.inf
        self._in_flight = 0
        self._unanswered_since = math.inf
        """The start of the first request that was not followed by a success; `inf` if none is outstanding."""
        self._has_logged_foreign = False
        self._stuck = LogThrottle()

    def request_starts(self, now: float) -> None:
        self._in_flight += 1
        self._unanswered_since = min(self._unanswered_since, now)

    def request_ends(self, events: int, attempt: int, answer: Answer, seconds: float, now: float) -> None:
        """A request has ended; logged only at the level debug, or once if its answer is not Gameball's."""
        self._in_flight -= 1
        if self._in_flight:
            self._unanswered_since = min(self._unanswered_since, now)
        elif self._outage is None:
            self._unanswered_since = math.inf
        if answer.foreign and answer.verdict is Decision.DELIVERED and not self._has_logged_foreign:
            self._has_logged_foreign = True
            _log.warning(
                "the server answered HTTP %d with a body (%s) that is not JSON. The events count as delivered; "
                "if they do not appear in Gameball's dashboard, check base_url with `gameball-async doctor`. "
                "This is logged once.",
                answer.status,
                answer.foreign,
                extra=fields("foreign_answer", status=answer.status, cause=answer.foreign),
            )
        if _requests_log.isEnabledFor(logging.DEBUG):
            _requests_log.debug(
                "%s, attempt %d: %s (%s) in %.3f s",
                counted(events, "event"),
                attempt,
                answer.verdict.label,
                answer.summary,
                seconds,
                extra=fields(
                    "request",
                    events=events,
                    attempts=attempt,
                    verdict=answer.verdict.label,
                    seconds=seconds,
                    **answer_fields(answer),
                ),
            )

    # ---------------------------------------------------------------- pauses, outages, halts

    @property
    def due_at(self) -> float:
        """When there is something to log, `inf` if nothing is expected."""
        due_at = math.inf
        if self._outage is None or not self._outage.logged:
            due_at = max(self._unanswered_since + PATIENCE, self._logged_at + INTERVAL)
        for loss in self.losses.values():
            due_at = min(due_at, loss.due_at)
        return due_at

    def failed(self, answer: Answer) -> None:
        """Note a failed request that left the breaker open."""
        self._outage = self._outage or Outage(self._unanswered_since)
        self._outage.note(answer)

    def not_open(
        self, state: BreakerState, answer: Answer, halted: ClientHalted | None, until: float, now: float
    ) -> None:
        """Log that no request is sent before `until`, unless that is known."""
        outage = self._outage = self._outage or Outage(now)
        outage.state, outage.until = state, until
        if answer.health is not ServerHealth.NONE:
            outage.note(answer)
            self._unanswered_since = self._unanswered_since if answer.verdict in FAILURES else math.inf
        if state in outage.logged:
            return
        if self._is_worth_a_line(state, until - outage.began_at, now):
            outage.logged.add(state)
            self._logged_at = now
            self._log_state(state, answer_fields(answer), halted, until - outage.began_at)
        else:
            extra = fields("short_pause", seconds=until - now, **answer_fields(answer))
            _log.debug("no requests for %.1f s: %s", until - now, answer.summary, extra=extra)

    def _is_worth_a_line(self, state: BreakerState, seconds: float, now: float) -> bool:
        if state is BreakerState.HALTED:
            return True
        return now >= self._logged_at + INTERVAL and (state is BreakerState.OUTAGE or seconds > _LONG_PAUSE)

    def log_outage(self, now: float) -> None:
        """Log an outage that has lasted for a while, in any state of the breaker, and that was not logged yet."""
        is_logged = self._outage is not None and self._outage.logged
        if is_logged or now < max(self._unanswered_since + PATIENCE, self._logged_at + INTERVAL):
            return
        if not self._waiting():  # what has failed was given up, and that is logged
            self._unanswered_since = math.inf
            if self._outage is not None and self._outage.state is BreakerState.CLOSED:
                self._outage = None
            return
        outage = self._outage = self._outage or Outage(self._unanswered_since)
        is_asked_for = outage.state is BreakerState.PAUSED and outage.about
        state = BreakerState.PAUSED if is_asked_for else BreakerState.OUTAGE
        about = outage.about or {"cause": f"no answer for {now - self._unanswered_since:.0f} s"}
        outage.logged.add(state)
        self._logged_at = now
        self._log_state(state, about, None, outage.until - outage.began_at)

    def retries(self, batch: Batch, answer: Answer, now: float) -> None:
        """Log a batch that fails again and again while other requests succeed, at most once a minute."""
        outage = self._outage  # since the last success; with as many failures as attempts, no other request succeeded
        is_general = outage is not None and (outage.state is not BreakerState.CLOSED or outage.failed >= batch.attempts)
        if batch.attempts < _STUCK_ATTEMPTS or is_general:
            return
        self._stuck.count += 1
        if self._stuck.take(now):
            _log.warning(
                "a request of %s fails again and again (%d attempts; %s) while others succeed. It begins with %r; "
                "retries continue.",
                counted(len(batch.events), "event"),
                batch.attempts,
                answer.summary,
                name := next(iter(batch.events))[:LONGEST_NAME],
                extra=fields("retrying", event=name, attempts=batch.attempts, **answer_fields(answer)),
            )

    def _log_state(self, state: BreakerState, about: AnswerFields, halted: ClientHalted | None, seconds: float) -> None:
        pending, cause = self._waiting(), about["cause"]
        waiting, extra = counted(pending, "event", "are"), fields(LINE_KINDS[state], pending=pending, **about)
        if state is BreakerState.HALTED:
            _log.error("%s A probe is sent every minute. %s waiting.", halted, waiting, extra=extra)
        elif state is BreakerState.PAUSED:
            _log.warning(
                "Gameball asked for a pause, %.0f s in all (%s)%s. %s waiting. If others use this account too, divide "
                "its rate with RateLimit(share=...).",
                seconds,
                cause,
                self._since(),
                waiting,
                extra=extra,
            )
        else:
            _log.warning(
                "Gameball is out of reach at %s (%s)%s. %s waiting; retries continue. If this lasts, check base_url "
                "and the network with `gameball-async doctor`.",
                self._address,
                cause,
                self._since(),
                waiting,
                extra=extra,
            )

    def _since(self) -> str:
        unlogged, self._unlogged = self._unlogged, 0
        return f", after {counted(unlogged, 'short interruption')} without a line" if unlogged else ""

    def recovered(self, now: float) -> None:
        """Log the end of an outage."""
        self._unanswered_since = math.inf
        outage, self._outage = self._outage, None
        if outage is None or outage.is_short:
            return
        level = logging.WARNING if outage.logged else logging.DEBUG
        self._unlogged += not outage.logged
        seconds, pending = now - outage.began_at, self._waiting()
        _log.log(
            level,
            "Gameball answers again, after %.0f s and %s. %s waiting.",
            seconds,
            counted(outage.failed, "failed request"),
            counted(pending, "event", "are"),
            extra=fields("recovered", pending=pending, seconds=seconds, requests=outage.failed),
        )

    # ---------------------------------------------------------------- events that will not arrive

    def add_failed(self, names: Sequence[str], error: DeliveryError) -> None:
        """Count failed events, which `log_failed` logs."""
        reason = error.reason if isinstance(error, Dropped) else None
        is_of_a_kind = reason is DropReason.INVALID and len(self.losses) < _MOST_KINDS
        kind = type(error), str(error) if is_of_a_kind else reason
        loss = self.losses.setdefault(kind, Loss())
        loss.count += len(names)
        loss.latest_name, loss.latest_error = names[-1], error
        if isinstance(error, OutcomeUnknown) and self._outage is not None and self._outage.is_short:
            self._outage, self._unanswered_since = None, math.inf  # it is not retried

    def log_failed(self, now: float) -> None:
        self._log([(loss.take(now), loss) for loss in self.losses.values() if loss.due_at <= now])

    def log_all(self, now: float) -> None:
        """Log the remaining failed events."""
        self._log([(loss.take_all(now), loss) for loss in self.losses.values()])

    @staticmethod
    def _log(losses: list[tuple[int, Loss]]) -> None:
        """Log what was taken out before: a log handler may track, and so cause further failures."""
        for level, arguments, extra in [loss.line(count) for count, loss in losses if count]:
            _log.log(level, "%s %s, %s%r: %s", *arguments, extra=extra)

    @staticmethod
    def unconfirmed(events: int) -> None:
        """The client ends, and these events are part of jobs that have not ended."""
        _log.warning(
            "the client was closed before Gameball had completed its jobs: %s delivered without confirmation.",
            counted(events, "event", "are"),
            extra=fields("unconfirmed", cause="closed", events=events),
        )

    def kept(self, why: str, where: str) -> None:
        """The client ends, and what waits is kept somewhere."""
        if waiting := self._waiting():
            text, extra = counted(waiting, "event", "are"), fields("kept", cause=why, events=waiting)
            _log.warning("%s; %s kept %s.", why, text, where, extra=extra)


@attrs.define(eq=False, weakref_slot=False)
class SentRequest:
    """A request in flight.

    Attributes:
        body: its bytes.
        events: how many it has.
        attempt: how often the batch was sent that was sent most often.
        started_at: when it was sent.
        start: what the observer was called with, or None.
    """

    body: bytes
    events: int
    attempt: int
    started_at: float
    start: RequestStart | None = None


class Reporting:
    """Reports to the log and to the observer; errors of the observer are logged.

    Args:
        observer: the user's, or None.
        client: what it knows of the client.
        waiting: gives the number of events without an outcome.

    Attributes:
        log: what is logged.
        is_watched: whether there is an observer.
        sees_tracks: whether the observer wants to see each event that is tracked.
    """

    def __init__(self, observer: Observer | None, client: ObservedClient, waiting: Callable[[], int]) -> None:
        self.sees_tracks = (
            observer is not None and getattr(observer.on_track, "__func__", None) is not Observer.on_track
        )
        self.is_watched = observer is not None
        self._observer = Observer() if observer is None else observer
        self._client = client
        self.log = LogReporter(waiting, _without_path(client.base_url))
        self._due = Notifier()
        self._wakes_at = math.inf
        self._reporting: anyio.CancelScope | None = None
        self._state = BreakerState.CLOSED
        self._paused_at = 0.0
        self._is_calling = False
        self._is_started = False
        self._failing: set[str] = set()

    def _call(
        self, method: Callable[Concatenate[ObservedClient, _P], _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T | None:
        """Call the observer, unless it has called the client: that would recurse."""
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
            extra = fields("observer", method=method, cause=(cause := type(raised).__name__))
            _log.error("the observer's %s raised %s; this is logged once.", method, cause, extra=extra)

    # ---------------------------------------------------------------- life

    def started(self) -> None:
        """The flusher begins, perhaps again."""
        if self.is_watched and not self._is_started:
            self._is_started = True
            self._call(self._observer.on_start)

    def closed(self, now: float) -> None:
        self.log.log_all(now)
        if self._is_started:
            self._is_started = False
            self._call(self._observer.on_close)

    # ---------------------------------------------------------------- events

    def tracked(self, shared: SharedOutcome, events: Sequence[EncodedEvent | Event]) -> None:
        """Report accepted events in the caller's context; their marks go where their outcome goes."""
        for event in events:
            shared.mark(event.name, self._call(self._observer.on_track, event.name))

    def settled(self, events: int, outcome: Delivered | DeliveryError) -> None:
        self._call(self._observer.on_settled, events, outcome)

    def failed(self, names: Sequence[str], error: DeliveryError) -> None:
        """Report events that will not arrive, or may not have; the next `log_failed` logs them."""
        self.log.add_failed(names, error)
        if self.is_watched:
            self._call(self._observer.on_settled, len(names), error)

    def missing(self, events: int) -> None:
        """A disk has lost events; the journal has said so."""
        if self.is_watched and events:
            self._call(self._observer.on_settled, events, Dropped(_MISSING, reason=DropReason.JOURNAL_FAILED))

    def log_failed(self, now: float) -> None:
        """Log the events that have failed, if it is time."""
        if self.log.losses:
            self.log.log_failed(now)
        self._wake_in_time()

    def _wake_in_time(self) -> None:
        """Wake `report` if there is something to log before its present wait ends."""
        if self.log.due_at < self._wakes_at:
            self._due.ring()

    async def report(self, now: Callable[[], float]) -> None:
        """Log in time what no call brings about, such as an answer that does not come; until `finish`."""
        with anyio.CancelScope() as self._reporting:
            while True:
                if self.log.due_at <= now():
                    self.log.log_failed(now())
                    self.log.log_outage(now())
                self._wakes_at = self.log.due_at
                with anyio.move_on_after(self._wakes_at - now()):
                    await self._due.wait()
                if now() > self._wakes_at + _LATE:
                    await anyio.sleep(_LATE)  # the loop stood still: first let it read what has arrived

    def finish(self) -> None:
        if self._reporting is not None:
            self._reporting.cancel()

    # ---------------------------------------------------------------- requests

    def request_starts(self, batches: Sequence[Batch], body: bytes, now: float) -> SentRequest:
        """A request is about to be sent; what is returned is for its end."""
        first = batches[0]
        events, attempt = len(first.events), first.attempts
        if len(batches) > 1:
            events = sum(len(batch.events) for batch in batches)
            attempt = max(batch.attempts for batch in batches)
        sending = SentRequest(body, events, attempt, now)
        self.log.request_starts(now)
        self._wake_in_time()
        if self.is_watched:
            marks = [(batch.shared.marks or {}, name) for batch in batches for name in batch.events]
            sending.start = RequestStart(
                events=tuple(name for _, name in marks),
                size=len(body),
                attempt=attempt,
                marks=tuple(marked[name] for marked, name in marks if name in marked),
                players=len(batches),
            )
            self._call(self._observer.on_request_start, sending.start)
        return sending

    def request_ends(self, sending: SentRequest, answer: Answer, now: float) -> None:
        seconds = now - sending.started_at
        self.log.request_ends(sending.events, sending.attempt, answer, seconds, now)
        self._wake_in_time()
        if sending.start is not None:
            end = RequestEnd(verdict=answer.verdict.label, status=answer.status, code=answer.code, seconds=seconds)
            self._call(self._observer.on_request_end, sending.start, end)

    def job(self, report: JobReport) -> None:
        """Report what became of a job."""
        if self.is_watched:
            self._call(self._observer.on_job, report)

    # ---------------------------------------------------------------- pauses

    def look_at(
        self, breaker: CircuitBreaker, answer: Answer, health: ServerHealth, halted: ClientHalted | None, now: float
    ) -> None:
        """Report what the response to a request meant for the circuit breaker."""
        before, self._state = self._state, breaker.state
        if breaker.state is not BreakerState.CLOSED:
            self.log.not_open(breaker.state, answer, halted, breaker.until, now)
        elif answer.verdict in FAILURES:
            self.log.failed(answer)
        elif health is not ServerHealth.NONE:
            self.log.recovered(now)
        if breaker.state is not before and self.is_watched:
            self._report_change(before, now)

    def _report_change(self, before: BreakerState, now: float) -> None:
        if before is not BreakerState.CLOSED:
            self._call(self._observer.on_resume, _REASONS[before], now - self._paused_at)
        self._paused_at = now
        if self._state is not BreakerState.CLOSED:
            self._call(self._observer.on_pause, _REASONS[self._state])


def _without_path(base_url: str) -> str:
    """An address without its path, which may hold a secret."""
    parts = urlsplit(base_url)
    return f"{parts.scheme}://{parts.netloc}"


_MISSING = "the journal's disk has lost the event."
