"""The rate limit as the server counts it: two true sliding windows; knows no clock, `now` comes in."""

from __future__ import annotations

from collections import deque
from itertools import takewhile

import attrs


@attrs.frozen
class Limits:
    """The two windows of the API's rate limit for events, both kept at once.

    Args:
        per_second: requests in any one second, at most (100 in Gameball's "Rate Limiting" page).
        per_30_seconds: requests in any thirty seconds, at most (1200 in the same page).
        retry_after: the Retry-After header of a 429: seconds, or a text to send as it is. None, the
            default, sends none: the documentation names no such header.

    Raises:
        ValueError: if a window would let nothing through.
    """

    per_second: int = 100
    per_30_seconds: int = 1200
    retry_after: float | str | None = None

    def __attrs_post_init__(self) -> None:
        if min(self.per_second, self.per_30_seconds) < 1:
            raise ValueError(f"{self!r} lets nothing through: give counts of at least 1, or limits=None for none.")


class _LimitWindow:
    """The starts of the last requests let through, as many as the window allows."""

    def __init__(self, count: int, seconds: float) -> None:
        self.count = count
        self.seconds = seconds
        self._starts: deque[float] = deque(maxlen=count)

    def is_full(self, now: float) -> bool:
        return len(self._starts) == self.count and now - self._starts[0] < self.seconds

    def add(self, now: float) -> None:
        self._starts.append(now)

    def used(self, now: float) -> int:
        # the newest stand last: as many are looked at as count
        return sum(1 for _ in takewhile(lambda start: now - start < self.seconds, reversed(self._starts)))


@attrs.frozen
class Use:
    """How full a window is at one instant.

    Args:
        used: requests let through in the seconds just past.
        count: as many are let through at most.
        seconds: the window's length.
    """

    used: int
    count: int
    seconds: float


class LimitWindows:
    """Both windows. A refused request takes no room, so that a client which waits gets through."""

    def __init__(self, limits: Limits | None) -> None:
        self.limits = limits
        self._windows = _windows(limits)

    def admit(self, now: float) -> str | None:
        """Let a request through, or say which window is full.

        Args:
            now: seconds, never less than in an earlier call.

        Returns:
            None if the request may pass, else the reason in words.
        """
        if (full := self.full(now)) is None:
            for window in self._windows:
                window.add(now)
        return full

    def full(self, now: float) -> str | None:
        """Say which window is full, or None if a request may pass; takes no room.

        Args:
            now: seconds, never less than in an earlier call of `admit`.
        """
        full = next((window for window in self._windows if window.is_full(now)), None)
        if full is None:
            return None
        return f"More than {full.count} request{'' if full.count == 1 else 's'} in {full.seconds:g} s."

    def use(self, now: float) -> list[Use]:
        """How full each window is; empty if there are none.

        Args:
            now: seconds, never less than in an earlier call of `admit`.
        """
        return [Use(window.used(now), window.count, window.seconds) for window in self._windows]


def _windows(limits: Limits | None) -> tuple[_LimitWindow, ...]:
    if limits is None:
        return ()
    return _LimitWindow(limits.per_second, 1.0), _LimitWindow(limits.per_30_seconds, 30.0)
