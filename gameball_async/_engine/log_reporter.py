"""What the flusher tells the log: a line when something begins and one when it ends, with counts.

Never a line for each retry or each event: what happens often is counted, and told at most once a
minute. No line holds a key, a player's id, a contact or a value of the metadata.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence

from .._core.outcome import FAILURES, Answer, Decision, ServerHealth
from .._core.pacing import BreakerState
from .._log import INTERVAL, LogThrottle, counted, logger
from ..errors import ClientHalted, DeliveryError, Dropped, DropReason, OutcomeUnknown

_LONG_PAUSE = 30.0
"""Seconds of a pause that are worth a line: shorter ones are what the rate windows of 30 s bring about."""

PATIENCE = 3.0
"""Seconds without a successful request before an outage is logged, however few requests there are. Two retries with
the default settings fit into it, so that a failure which a retry repairs is no line."""

_LONGEST_NAME = 60
"""Characters of an event's name in a line."""

_log = logger("gameball_async")
_requests_log = logger("gameball_async.requests")


class LogReporter:
    """Says what is worth a line, and when.

    Args:
        waiting: gives the number of events without an outcome.
        address: where requests go, as it may be logged.
    """

    def __init__(self, waiting: Callable[[], int], address: str) -> None:
        self._waiting = waiting
        self._address = address
        self._losses: dict[tuple[type[DeliveryError], DropReason | None], _Loss] = {}
        self._trouble: _Outage | None = None
        self._untold = 0
        self._told_at = -math.inf
        self._in_flight = 0
        self._unanswered_since = math.inf
        """The start of the first request that was not followed by a success; `inf` if none is outstanding."""
        self._has_logged_foreign = False

    def request_starts(self, now: float) -> None:
        """A request is about to be sent."""
        self._in_flight += 1
        self._unanswered_since = min(self._unanswered_since, now)

    def request_ends(self, events: int, attempt: int, answer: Answer, seconds: float, now: float) -> None:
        """A request has ended; logged only at the level debug, or once if its answer is not Gameball's."""
        self._in_flight -= 1
        if self._in_flight:
            self._unanswered_since = min(self._unanswered_since, now)
        elif self._trouble is None:
            self._unanswered_since = math.inf
        if answer.foreign and answer.verdict is Decision.DELIVERED and not self._has_logged_foreign:
            self._has_logged_foreign = True
            _log.warning(
                "the server answered HTTP %d with a body (%s) that is not JSON. The events count as delivered; "
                "if they do not appear in Gameball's dashboard, check base_url with `gameball-async doctor`. "
                "This is logged once.",
                answer.status,
                answer.foreign,
            )
        if _requests_log.isEnabledFor(logging.DEBUG):
            _requests_log.debug(
                "%s, attempt %d: %s (%s) in %.3f s",
                counted(events, "event"),
                attempt,
                answer.verdict.label,
                answer.summary,
                seconds,
            )

    # ---------------------------------------------------------------- pauses, outages, halts

    @property
    def due_at(self) -> float:
        """When there is something to log, `inf` if nothing is expected."""
        return min(self._outage_due_at, *(loss.due_at for loss in self._losses.values()), math.inf)

    @property
    def _outage_due_at(self) -> float:
        if self._trouble is not None and self._trouble.told:
            return math.inf
        return max(self._unanswered_since + PATIENCE, self._told_at + INTERVAL)

    def failed(self, answer: Answer) -> None:
        """A request has failed, and the gate stays open."""
        self._trouble = self._trouble or _Outage(self._unanswered_since)
        self._trouble.note(answer)

    def held(self, state: BreakerState, answer: Answer, halted: ClientHalted | None, until: float, now: float) -> None:
        """A request has ended, and the gate is closed.

        Args:
            state: why it is closed.
            answer: what the request brought.
            halted: why Gameball refuses this client, if it does.
            until: when the next request may go.
            now: the present time.
        """
        trouble = self._trouble = self._trouble or _Outage(now)
        trouble.state, trouble.until = state, until
        if answer.health is not ServerHealth.NONE:
            trouble.note(answer)
            self._unanswered_since = self._unanswered_since if answer.verdict in FAILURES else math.inf
        if state in trouble.told:
            return
        if self._is_worth_a_line(state, until - trouble.began_at, now):
            trouble.told.add(state)
            self._told_at = now
            self._tell_of(state, answer.summary, halted, until - trouble.began_at)
        else:
            _log.debug("no requests for %.1f s: %s", until - now, answer.summary)

    def _is_worth_a_line(self, state: BreakerState, seconds: float, now: float) -> bool:
        if state is BreakerState.HALTED:
            return True
        return now >= self._told_at + INTERVAL and (state is BreakerState.OUTAGE or seconds > _LONG_PAUSE)

    def tell_of_outage(self, now: float) -> None:
        """Log an outage that has lasted for a while, whatever the gate makes of it, and that was not logged yet."""
        if now < self._outage_due_at:
            return
        if not self._waiting():  # what has failed was given up, and that is logged
            self._unanswered_since = math.inf
            if self._trouble is not None and self._trouble.state is BreakerState.OPEN:
                self._trouble = None
            return
        trouble = self._trouble = self._trouble or _Outage(self._unanswered_since)
        is_asked_for = trouble.state is BreakerState.PAUSED and trouble.cause
        state = BreakerState.PAUSED if is_asked_for else BreakerState.OUTAGE
        cause = trouble.cause or f"no answer for {now - self._unanswered_since:.0f} s"
        trouble.told.add(state)
        self._told_at = now
        self._tell_of(state, cause, None, trouble.until - trouble.began_at)

    def _tell_of(self, state: BreakerState, cause: str, halted: ClientHalted | None, seconds: float) -> None:
        if state is BreakerState.HALTED:
            _log.error("%s A probe is sent every minute. %s waiting.", halted, counted(self._waiting(), "event", "are"))
        elif state is BreakerState.PAUSED:
            _log.warning(
                "Gameball asked for a pause, %.0f s in all (%s)%s. %s waiting. If others use this account too, divide "
                "its rate with RateLimit(share=...).",
                seconds,
                cause,
                self._since(),
                counted(self._waiting(), "event", "are"),
            )
        else:
            _log.warning(
                "Gameball is out of reach at %s (%s)%s. %s waiting; retries continue. If this lasts, check base_url "
                "and the network with `gameball-async doctor`.",
                self._address,
                cause,
                self._since(),
                counted(self._waiting(), "event", "are"),
            )

    def _since(self) -> str:
        untold, self._untold = self._untold, 0
        return f", after {counted(untold, 'short interruption')} without a line" if untold else ""

    def freed(self, now: float) -> None:
        """Gameball works, and the gate is open."""
        self._unanswered_since = math.inf
        trouble, self._trouble = self._trouble, None
        if trouble is None or trouble.is_short:
            return
        level = logging.WARNING if trouble.told else logging.DEBUG
        self._untold += not trouble.told
        _log.log(
            level,
            "Gameball answers again, after %.0f s and %s. %s waiting.",
            now - trouble.began_at,
            counted(trouble.failed, "failed request"),
            counted(self._waiting(), "event", "are"),
        )

    # ---------------------------------------------------------------- events that will not arrive

    def lost(self, names: Sequence[str], error: DeliveryError) -> None:
        """Events have failed; `tell` says so."""
        kind = type(error), error.reason if isinstance(error, Dropped) else None
        loss = self._losses.setdefault(kind, _Loss())
        loss.count += len(names)
        loss.latest_name, loss.latest_error = names[-1], error
        if isinstance(error, OutcomeUnknown) and self._trouble is not None and self._trouble.is_short:
            self._trouble, self._unanswered_since = None, math.inf  # nobody waits for a retry

    def tell(self, now: float) -> None:
        """Log the events that have failed, if it is time."""
        self._log([(loss.take(now), loss) for loss in self._losses.values() if loss.due_at <= now])

    def tell_all(self, now: float) -> None:
        """Tell of the events that have failed, for the last time."""
        self._log([(loss.take_all(now), loss) for loss in self._losses.values()])

    @staticmethod
    def _log(losses: list[tuple[int, _Loss]]) -> None:
        """Log what was taken out before: a log handler may track, and so let further events fail meanwhile."""
        for level, arguments in [loss.line(count) for count, loss in losses if count]:
            _log.log(level, "%s %s, %s%r: %s", *arguments)

    def kept(self, why: str) -> None:
        """The client ends, and what waits is kept in the journal."""
        if waiting := self._waiting():
            _log.warning("%s; %s kept in the journal for the next client.", why, counted(waiting, "event", "are"))


class _Outage:
    """The time from the first failed request, or from the gate's closing, to a success with the gate open.

    Attributes:
        began_at: when it began.
        failed: requests that have failed since.
        cause: why the latest request failed; empty if it did not, or none has ended yet.
        state: what the gate made of it.
        until: how long the gate is closed.
        told: what was logged of it.
    """

    def __init__(self, began_at: float) -> None:
        self.began_at = began_at
        self.failed = 0
        self.cause = ""
        self.state = BreakerState.OPEN
        self.until = began_at
        self.told: set[BreakerState] = set()

    def note(self, answer: Answer) -> None:
        """Take in what a request brought."""
        self.failed += answer.verdict is not Decision.DELIVERED  # one from before may yet arrive
        self.cause = answer.summary if answer.verdict in FAILURES else ""

    @property
    def is_short(self) -> bool:
        """Whether neither the gate nor the log knows of it yet."""
        return self.state is BreakerState.OPEN and not self.told


class _Loss(LogThrottle):
    """Events that failed for the same reason.

    Attributes:
        latest_name: the name of the last of them.
        latest_error: why it failed.
    """

    __slots__ = ("latest_error", "latest_name")

    latest_name: str
    latest_error: DeliveryError

    def line(self, count: int) -> tuple[int, tuple[object, ...]]:
        """Level and arguments of the line that so many have failed."""
        error = self.latest_error
        # who chose to drop events has been told what happens; everything else is somebody's mistake
        is_chosen = isinstance(error, Dropped) and error.reason is DropReason.BUFFER_FULL
        return logging.WARNING if is_chosen else logging.ERROR, (
            counted(count, "event"),
            "may not have arrived" if isinstance(error, OutcomeUnknown) else "will not arrive",
            "the last one " if count > 1 else "",
            self.latest_name[:_LONGEST_NAME],
            error,
        )
