"""What a relay shows of itself: the statistics of all its flushers as one, and one client for the observer."""

from __future__ import annotations

from collections import deque

import attrs

from .._core.receipts import Delivered
from .._core.stats import JobReport, ObservedClient, Observer, PauseReason, RequestEnd, RequestStart, Stats
from ..errors import DeliveryError

NOTHING = Stats(
    accepted=0,
    delivered=0,
    rejected=0,
    dropped=0,
    unknown=0,
    buffered_events=0,
    buffered_bytes=0,
    oldest_age=0.0,
    in_flight=0,
    requests=0,
    retries=0,
    ambiguous=0,
    paused_until=None,
    halted=None,
)
"""Those of a relay that has done nothing yet."""

_COUNTERS = (
    "accepted",
    "delivered",
    "rejected",
    "dropped",
    "unknown",
    "requests",
    "retries",
    "ambiguous",
    "filtered",
    "invalid",
    "unconfirmed",
    "jobs_accepted",
    "polls",
)


def summed(ended: Stats, present: Stats) -> Stats:
    """Add the counters of flushers that have ended to those of the present one."""
    return attrs.evolve(present, **{name: getattr(ended, name) + getattr(present, name) for name in _COUNTERS})


def without_pending(stats: Stats) -> Stats:
    """Count events out that have no outcome: another relay reads them."""
    counters = {name: getattr(stats, name) for name in _COUNTERS}
    return attrs.evolve(NOTHING, **counters | {"accepted": stats.accepted - stats.pending})


class RateMeter:
    """Measures how many events are delivered per second, over the last ten seconds or so."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def rate(self, delivered: int, now: float) -> float:
        """Add a sample, and return the rate."""
        self._samples.append((now, delivered))
        while self._samples[0][0] < now - _RATE_SECONDS and len(self._samples) > 1:
            self._samples.popleft()
        began, before = self._samples[0]
        return (delivered - before) / (now - began) if now > began else 0.0


_RATE_SECONDS = 10.0


class RelayObserver(Observer):
    """Shows the user's observer one client for all flushers of a relay.

    Args:
        observer: the user's.
        client: the relay as it knows it.
    """

    def __init__(self, observer: Observer, client: ObservedClient) -> None:
        self._observer = observer
        self._client = client

    def on_request_start(self, client: ObservedClient, start: RequestStart) -> None:  # noqa: ARG002 a flusher's
        self._observer.on_request_start(self._client, start)

    def on_request_end(self, client: ObservedClient, start: RequestStart, end: RequestEnd) -> None:  # noqa: ARG002
        self._observer.on_request_end(self._client, start, end)

    def on_job(self, client: ObservedClient, report: JobReport) -> None:  # noqa: ARG002 a flusher's
        self._observer.on_job(self._client, report)

    def on_settled(self, client: ObservedClient, events: int, outcome: Delivered | DeliveryError) -> None:  # noqa: ARG002
        self._observer.on_settled(self._client, events, outcome)

    def on_pause(self, client: ObservedClient, reason: PauseReason) -> None:  # noqa: ARG002
        self._observer.on_pause(self._client, reason)

    def on_resume(self, client: ObservedClient, reason: PauseReason, seconds: float) -> None:  # noqa: ARG002
        self._observer.on_resume(self._client, reason, seconds)
