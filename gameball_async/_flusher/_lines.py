"""What the flusher tells the log: a line when something begins and one when it ends, with counts.

Never a line for each retry or each event: what happens often is counted, and told at most once a
minute. No line holds a key, a player's id, a contact or a value of the metadata.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence

from .._logger import logger
from .._pacing import GateState
from .._seldom import INTERVAL, Seldom
from .._verdict import Answer, Verdict
from ..errors import ClientHalted, DeliveryError, Dropped, DropReason, OutcomeUnknown

_LONG_PAUSE = 30.0
"""Seconds of a pause that are worth a line: shorter ones are what the rate windows of 30 s bring about."""

_LONGEST_NAME = 60
"""Characters of an event's name in a line."""

_log = logger("gameball_async")
_requests_log = logger("gameball_async.requests")


class Lines:
    """Says what is worth a line, and when.

    Args:
        waiting: gives the number of events without an outcome.
    """

    def __init__(self, waiting: Callable[[], int]) -> None:
        self._waiting = waiting
        self._losses: dict[tuple[type[DeliveryError], DropReason | None], _Loss] = {}
        self._trouble: _Trouble | None = None
        self._untold = 0
        self._told_at = -math.inf

    def request_ends(self, events: int, attempt: int, answer: Answer, seconds: float) -> None:
        """A request has ended: told only to who asks for it."""
        if _requests_log.isEnabledFor(logging.DEBUG):
            _requests_log.debug(
                "%s, attempt %d: %s (%s) in %.3f s",
                _counted(events),
                attempt,
                answer.verdict.label,
                answer.summary,
                seconds,
            )

    # ---------------------------------------------------------------- pauses, outages, halts

    def held(self, state: GateState, answer: Answer, halted: ClientHalted | None, until: float, now: float) -> None:
        """A request has ended, and the gate is closed.

        Args:
            state: why it is closed.
            answer: what the request brought.
            halted: why Gameball refuses this client, if it does.
            until: when the next request may go.
            now: the present time.
        """
        trouble = self._trouble = self._trouble or _Trouble(now)
        trouble.failed += answer.verdict is not Verdict.DELIVERED  # one from before may yet arrive
        if state in trouble.told:
            return
        if self._is_worth_a_line(state, until - trouble.began_at, now):
            trouble.told.add(state)
            self._told_at = now
            self._tell_of(state, answer, halted, until - trouble.began_at)
        else:
            _log.debug("no requests for %.1f s: %s", until - now, answer.summary)

    def _is_worth_a_line(self, state: GateState, seconds: float, now: float) -> bool:
        if state is GateState.HALTED:
            return True
        return now >= self._told_at + INTERVAL and (state is GateState.OUTAGE or seconds > _LONG_PAUSE)

    def _tell_of(self, state: GateState, answer: Answer, halted: ClientHalted | None, seconds: float) -> None:
        if state is GateState.HALTED:
            _log.error("%s %s waiting.", halted, _are(self._waiting()))
        elif state is GateState.PAUSED:
            _log.warning(
                "Gameball asked for a pause, %.0f s in all (%s)%s. %s waiting. If others use this account too, divide "
                "its rate with RateLimit(share=...).",
                seconds,
                answer.summary,
                self._since(),
                _are(self._waiting()),
            )
        else:
            _log.warning(
                "Gameball is out of reach (%s)%s. %s waiting, one request from time to time finds out whether it "
                "answers again.",
                answer.summary,
                self._since(),
                _are(self._waiting()),
            )

    def _since(self) -> str:
        untold, self._untold = self._untold, 0
        return f", after {untold:,} short outages or pauses that were not logged" if untold else ""

    def freed(self, now: float) -> None:
        """The gate is open again."""
        trouble, self._trouble = self._trouble, None
        if trouble is None:
            return
        level = logging.WARNING if trouble.told else logging.DEBUG
        self._untold += not trouble.told
        _log.log(
            level,
            "Gameball answers again, after %.0f s and %s. %s waiting.",
            now - trouble.began_at,
            _counted(trouble.failed, "failed request"),
            _are(self._waiting()),
        )

    # ---------------------------------------------------------------- events that will not arrive

    def lost(self, names: Sequence[str], error: DeliveryError) -> None:
        """Events have failed; `tell` says so."""
        kind = type(error), error.reason if isinstance(error, Dropped) else None
        loss = self._losses.setdefault(kind, _Loss())
        loss.count += len(names)
        loss.latest_name, loss.latest_error = names[-1], error

    def tell(self, now: float) -> float:
        """Tell of the events that have failed, if it is time; returns when it is time again."""
        self._log([(loss.take(now), loss) for loss in self._losses.values() if loss.due_at <= now])
        return min((loss.due_at for loss in self._losses.values()), default=math.inf)

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
            _log.warning("%s; %s kept in the journal for the next client.", why, _are(waiting))


class _Trouble:
    """The time from the gate's closing to its opening.

    Attributes:
        began_at: when it closed.
        failed: requests that have failed since.
        told: what was logged of it.
    """

    def __init__(self, began_at: float) -> None:
        self.began_at = began_at
        self.failed = 0
        self.told: set[GateState] = set()


class _Loss(Seldom):
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
            _counted(count),
            "may not have arrived" if isinstance(error, OutcomeUnknown) else "will not arrive",
            "the last one " if count > 1 else "",
            self.latest_name[:_LONGEST_NAME],
            error,
        )


def _counted(count: int, what: str = "event") -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _are(events: int) -> str:
    return f"{_counted(events)} {'is' if events == 1 else 'are'}"
