"""How often the log is told of the same thing: at once, and then at most once a minute, with a count."""

from __future__ import annotations

import math
import sys

_BEFORE_ANY_CLOCK = -sys.float_info.max

INTERVAL = 60.0
"""Seconds between two lines about the same. A person reads no faster, and a broken shop fails a thousand times."""


class LogThrottle:
    """Counts what happens, and says when to tell of it.

    Attributes:
        count: what was not told yet.
    """

    __slots__ = ("_told_at", "count")

    def __init__(self) -> None:
        self.count = 0
        self._told_at = -math.inf

    @property
    def due_at(self) -> float:
        """When to tell: at once if not above the present time, `inf` if there is nothing to tell."""
        return self._told_at + INTERVAL if self.count else math.inf

    def take(self, now: float) -> int:
        """How much there is to tell now, at most once a minute; 0 if there is nothing, or it is too early."""
        return self.take_all(now) if self.due_at <= now else 0

    def take_all(self, now: float) -> int:
        """How much there is to tell, for the last time."""
        told, self.count = self.count, 0
        self._told_at = max(now, _BEFORE_ANY_CLOCK)  # a client that was not started has no clock: `now` is always -inf
        return told
