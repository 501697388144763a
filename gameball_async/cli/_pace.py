"""How long the rest takes under the pacing: arithmetic alone, times come in as arguments."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

_EARLIEST = 3.0  # seconds before a rate says anything
_FULL_SPEED = 0.9  # of what the pacing allows; a run below is held back by the machine, the network or the server
_MEMORY = 30.0  # seconds: the longer window, so that a rate contains its pauses


def earliest_end(requests: float, windows: Sequence[tuple[int, float]]) -> float:
    """Return the seconds a number of requests takes at least, inside sliding windows, from a standing start.

    Args:
        requests: how many.
        windows: (requests, seconds) each; every window is used to the full as soon as possible.
    """
    if requests <= 0 or not windows:
        return 0.0
    *shorter, (count, seconds) = sorted(windows, key=lambda window: window[1])
    full = math.floor(max(requests - 1, 0) / count)
    return full * seconds + earliest_end(requests - full * count, shorter)


def most_requests(seconds: float, windows: Sequence[tuple[int, float]]) -> float:
    """Return how many requests can be sent in so many seconds, inside sliding windows, from a standing start.

    Args:
        seconds: how many; not negative.
        windows: (requests, seconds) each; requests spread evenly over the shortest one.
    """
    if not windows:
        return math.inf
    *shorter, (count, length) = sorted(windows, key=lambda window: window[1])
    if not shorter:
        return seconds / length * count
    full, rest = divmod(seconds, length)
    return full * count + min(count, most_requests(rest, shorter))


class Rate:
    """Events per second over the last half minute."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, now: float, total: int) -> None:
        """Take in how many there are altogether, at this many seconds."""
        self._seen.append((now, total))
        while len(self._seen) > 2 and self._seen[1][0] <= now - _MEMORY:  # noqa: PLR2004 two points make a line
            self._seen.popleft()

    def per_second(self) -> float:
        """Return the rate; 0.0 before there is one."""
        if not self._seen:
            return 0.0
        (since, before), (until, after) = self._seen[0], self._seen[-1]
        return (after - before) / (until - since) if until > since else 0.0


@attrs.frozen(kw_only=True)
class Eta:
    """How far a run has come.

    Attributes:
        events_left: events still to be delivered, as far as is known.
        events_per_request: how well they have merged so far.
        requests: requests sent.
        elapsed: seconds since the first of them.
        rate: events per second of late.
    """

    events_left: float
    events_per_request: float
    requests: int
    elapsed: float
    rate: float

    def remaining(self, windows: Sequence[tuple[int, float]]) -> float:
        """Return the seconds until the rest is delivered, as far as can be told.

        Args:
            windows: (requests, seconds) of the pacing.
        """
        if self.events_left <= 0:
            return 0.0
        requests = self.events_left / max(self.events_per_request, 1.0)
        # from the start of the run on; but after an outage it begins anew, with empty windows
        paced = max(earliest_end(self.requests + requests, windows) - self.elapsed, earliest_end(requests, windows))
        is_held_back = self.elapsed >= _EARLIEST and self.requests < _FULL_SPEED * most_requests(self.elapsed, windows)
        # under the pacing alone the rate counts only once it contains the pause of the longest window
        counts = is_held_back or self.elapsed >= _MEMORY
        observed = self.events_left / self.rate if self.rate > 0 and counts else 0.0
        return max(paced, observed)
