"""What the log reports for a time: an outage with its state, and events lost for one reason, with their fields."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from .._core.outcome import FAILURES, Answer, Decision
from .._core.pacing import BreakerState
from .._log import LogThrottle, counted, fields
from ..errors import DeliveryError, Dropped, DropReason, OutcomeUnknown

LONGEST_NAME = 60
"""Characters of an event's name in a line."""

LINE_KINDS = {BreakerState.PAUSED: "pause", BreakerState.OUTAGE: "outage", BreakerState.HALTED: "halt"}

AnswerFields = dict[str, Any]
"""The fields of a line about an answer."""


def answer_fields(answer: Answer) -> AnswerFields:
    return {"status": answer.status, "code": answer.code, "cause": answer.summary}


class Outage:
    """The time from the first failed request, or from the opening of the breaker, to a success after it.

    Attributes:
        began_at: when it began.
        failed: requests that have failed since.
        about: what the latest request failed with; empty if it did not, or none has ended yet.
        state: the breaker's state.
        until: when the next request may be sent.
        logged: the states that were logged.
    """

    def __init__(self, began_at: float) -> None:
        self.began_at = began_at
        self.failed = 0
        self.about: AnswerFields = {}
        self.state = BreakerState.CLOSED
        self.until = began_at
        self.logged: set[BreakerState] = set()

    def note(self, answer: Answer) -> None:
        """Take in what a request brought."""
        self.failed += answer.verdict is not Decision.DELIVERED  # one from before may yet arrive
        self.about = answer_fields(answer) if answer.verdict in FAILURES else {}

    @property
    def is_short(self) -> bool:
        """Whether it has neither changed the breaker nor been logged."""
        return self.state is BreakerState.CLOSED and not self.logged


class Loss(LogThrottle):
    """Events that failed for the same reason.

    Attributes:
        latest_name: the name of the last of them.
        latest_error: why it failed.
    """

    __slots__ = ("latest_error", "latest_name")

    latest_name: str
    latest_error: DeliveryError

    def line(self, count: int) -> tuple[int, tuple[object, ...], Mapping[str, object]]:
        """Level, arguments and fields of the line for this number of failed events."""
        error, name = self.latest_error, self.latest_name[:LONGEST_NAME]
        extra = fields(
            "undelivered",
            status=error.status,
            code=error.code,
            cause=str(error),
            outcome=type(error).__name__,
            event=name,
            events=count,
        )
        # the user chose to drop events; everything else is a problem
        is_chosen = isinstance(error, Dropped) and error.reason in (DropReason.BUFFER_FULL, DropReason.INVALID)
        return (
            logging.WARNING if is_chosen else logging.ERROR,
            (
                counted(count, "event"),
                "may not have arrived" if isinstance(error, OutcomeUnknown) else "will not arrive",
                "the last one " if count > 1 else "",
                name,
                error,
            ),
            extra,
        )
