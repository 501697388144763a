"""The rate limit as the server counts it: two sliding windows; `now` is an argument."""

from __future__ import annotations

from collections import deque
from itertools import takewhile

import attrs


@attrs.frozen
class Limits:
    """The two windows of the API's rate limit for events; both apply at once.

    Args:
        per_second: requests in any one second, at most (100 in Gameball's "Rate Limiting" page).
        per_30_seconds: requests in any thirty seconds, at most (1200 in the same page).
        retry_after: the Retry-After header of a 429: seconds, or a text to send as it is. None, the
            default, sends none: the documentation names no such header.

    Raises:
        ValueError: if a window would allow no request.
    """

    per_second: int = 100
    per_30_seconds: int = 1200
    retry_after: float | str | None = None

    def __attrs_post_init__(self) -> None:
        if min(self.per_second, self.per_30_seconds) < 1:
            raise ValueError(f"{self!r} allows no request: use counts of at least 1, or limits=None for no limits.")


class _LimitWindow:
    """The starts of the latest admitted requests."""

    def __init__(self, count: int, seconds: float) -> None:
        self.count = count
        self.seconds = seconds
        self._starts: deque[float] = deque(maxlen=count)

    def is_full(self, now: float) -> bool:
        return len(self._starts) == self.count and now - self._starts[0] < self.seconds

    def add(self, now: float) -> None:
        self._starts.append(now)

    def used(self, now: float) -> int:
        return sum(1 for _ in takewhile(lambda start: now - start < self.seconds, reversed(self._starts)))


@attrs.frozen
class Use:
    """How full a window is: `used` of `count` requests in the latest `seconds`."""

    used: int
    count: int
    seconds: float


class LimitWindows:
    """Both windows. Refused requests do not count, so a client that waits is admitted again.

    Pass a `now` that never decreases.
    """

    def __init__(self, limits: Limits | None) -> None:
        self.limits = limits
        self._windows = () if limits is None else _windows(limits)

    def admit(self, now: float) -> str | None:
        """Count a request and return None, or return which window is full."""
        if (full := self.full(now)) is None:
            for window in self._windows:
                window.add(now)
        return full

    def full(self, now: float) -> str | None:
        """Return which window is full, or None if a request would be admitted."""
        full = next((window for window in self._windows if window.is_full(now)), None)
        if full is None:
            return None
        return f"More than {full.count} request{'' if full.count == 1 else 's'} in {full.seconds:g} s."

    def use(self, now: float) -> list[Use]:
        """Return how full each window is."""
        return [Use(window.used(now), window.count, window.seconds) for window in self._windows]


def _windows(limits: Limits) -> tuple[_LimitWindow, ...]:
    return _LimitWindow(limits.per_second, 1.0), _LimitWindow(limits.per_30_seconds, 30.0)
