"""When a request may go: two sliding windows kept exactly, a minimum distance, and the circuit breaker.

Plain synchronous state; `now`, in seconds of one monotonic clock, and the length of a pause come in as arguments.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from enum import Enum, auto

from .outcome import ServerHealth

LONGEST_PAUSE = 300.0
"""Seconds that a `Retry-After` is honoured, at most. The longest documented window is 30 s; a server
that asks for more is asked again after five minutes."""

HALT_PROBE_INTERVAL = 60.0
"""Seconds between two probes of a halted client. Repairing a key takes a person minutes, and
hammering with a bad key is harmful."""

OUTAGE_PLAYERS = 5
"""Players whose requests must fail in a row, with no success between, to call it an outage. With one
failure in five at random that happens once in 3,000 requests."""


class RateWindows:
    """Sliding windows, exact where the server counts: a slot is free again at completion + window.

    A request that is in flight occupies its slot, because the server may count it at any moment
    until its answer is here. Keyed on the start, 127 requests were seen in one server's second.

    Args:
        limits: (requests, seconds) of each window.
    """

    def __init__(self, limits: Iterable[tuple[int, float]]) -> None:
        self._windows = [(requests, seconds, deque[float]()) for requests, seconds in limits]
        self._in_flight = 0

    def free_at(self, now: float) -> float:
        """When a request may start: at once if not above `now`; `inf`: not before one completes."""
        free_at = now
        for requests, seconds, completed in self._windows:
            while completed and completed[0] + seconds <= now:
                completed.popleft()
            excess = self._in_flight + len(completed) - requests
            if excess >= len(completed):
                return math.inf
            if excess >= 0:
                free_at = max(free_at, completed[excess] + seconds)
        return free_at

    def start(self) -> None:
        self._in_flight += 1

    def finish(self, now: float) -> None:
        """Note that a request completed, however it ended."""
        self._in_flight -= 1
        for _, _, completed in self._windows:
            completed.append(now)

    def resize(self, limits: Iterable[tuple[int, float]]) -> None:
        """Change how many requests each window allows, none perhaps; what was sent in them counts on."""
        requests = [requests for requests, _ in limits]
        self._windows = [(most, *window[1:]) for most, window in zip(requests, self._windows, strict=True)]


class Spacing:
    """Spreads requests over time: else what a window allows is sent in one burst, again and again.

    A request keeps the event loop busy for about a millisecond, so other tasks of the loop wait for a burst: the 99th
    percentile of a handler beside it was 1.1 times its own with spacing, and 1.3 times without.

    Args:
        limits: (requests, seconds) of each window.
    """

    def __init__(self, limits: Iterable[tuple[int, float]]) -> None:
        self._next = -math.inf
        self.resize(limits)

    def resize(self, limits: Iterable[tuple[int, float]]) -> None:
        """Spread requests over other limits from the next one on; a limit of no request needs no distance."""
        self._distance = _SPREAD * min((seconds / requests for requests, seconds in limits if requests), default=0.0)

    def free_at(self) -> float:
        """When the next request may start."""
        return self._next

    def start(self, now: float) -> None:
        self._next = now + self._distance


class LeakyBucket:
    """Keeps requests to a rate in the long run; a few may follow at once after a quiet time, or after a late start.

    Args:
        interval: seconds of one request.
        burst: requests that may follow at once.

    Attributes:
        cost: for how many requests each of them counts.
    """

    def __init__(self, interval: float, burst: int) -> None:
        self.cost = 1.0
        self._burst = burst
        self._empty_at = -math.inf
        self.resize(interval)

    def resize(self, interval: float) -> None:
        """Change the rate."""
        self._interval = interval

    def free_at(self) -> float:
        """When the next request may start."""
        return self._empty_at - (self._burst - 1) * self._interval * self.cost

    def start(self, now: float) -> None:
        """Note that a request starts."""
        self._empty_at = max(self._empty_at, now) + self._interval * self.cost


class Pacing:
    """The windows of a rate limit, and the spacing in them.

    Args:
        limits: (requests, seconds) of each window; without any, nothing is paced.

    Attributes:
        windows: None if nothing is paced.
        rate: requests per second that may be sent in the long run; `inf` if nothing is paced.
    """

    def __init__(self, limits: Sequence[tuple[int, float]]) -> None:
        self.windows = RateWindows(limits) if limits else None
        self.spacing = Spacing(limits)
        self.rate = _rate(limits)

    def start(self, now: float) -> None:
        """Note that a request starts."""
        if self.windows is not None:
            self.windows.start()
            self.spacing.start(now)

    def finish(self, now: float) -> None:
        """Note that a request completed, however it ended."""
        if self.windows is not None:
            self.windows.finish(now)

    def resize(self, limits: Sequence[tuple[int, float]]) -> None:
        """Change the limits; what was sent counts on."""
        if self.windows is not None:
            self.windows.resize(limits)
            self.spacing.resize(limits)
            self.rate = _rate(limits)


def _rate(limits: Sequence[tuple[int, float]]) -> float:
    return min((requests / seconds for requests, seconds in limits), default=math.inf)


class SharedPacing:
    """The limits that bulk requests and all calls share: each of the two may use two thirds of every window.

    A job needs at least one look at its status, so a third for those, as a fixed part, would let jobs pile up. Bulk
    requests are spread over what the looks at their jobs leave: else small ones use up a window, and the next ones wait
    for it.

    Args:
        limits: (requests, seconds) of each window; without any, nothing is paced.

    Attributes:
        bulk: the part of bulk requests.
        jobs: spreads them; its cost is how many requests each job takes.
        calls: the part of everything else.
    """

    def __init__(self, limits: Sequence[tuple[int, float]]) -> None:
        self._total = Pacing(limits)
        self._parts = [Pacing(_two_thirds(limits)) for _ in range(2)]
        self.jobs = LeakyBucket(_per_request(limits), _JOBS_AT_ONCE)
        self.jobs.cost = 2.0
        self.bulk = PacedPart(self._total, self._parts[0], self.jobs)
        self.calls = PacedPart(self._total, self._parts[1])

    def resize(self, limits: Sequence[tuple[int, float]]) -> None:
        """Change the limits; what was sent counts on."""
        self._total.resize(limits)
        for part in self._parts:
            part.resize(_two_thirds(limits))
        self.jobs.resize(_per_request(limits))


def _two_thirds(limits: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    return [(math.ceil(2 * requests / 3), seconds) for requests, seconds in limits]


_JOBS_AT_ONCE = 8
"""Bulk requests that may follow at once: as many as are in flight at once, so that slow answers cost no slot."""


def _per_request(limits: Sequence[tuple[int, float]]) -> float:
    """Seconds in which the limits allow one request, in the long run."""
    return max((seconds / requests for requests, seconds in limits if requests), default=0.0)


class PacedPart:
    """A part of limits that are shared.

    Args:
        total: the limits.
        part: those of this part, which are paced by the windows alone.
        bucket: spreads the requests of this part, if they are spread.
    """

    def __init__(self, total: Pacing, part: Pacing, bucket: LeakyBucket | None = None) -> None:
        self._total = total
        self._part = part
        self._bucket = bucket

    def free_at(self, now: float) -> float:
        """When a request may start: at once if not above `now`; `inf`: not before one completes."""
        total, part = self._total, self._part
        if total.windows is None or part.windows is None:
            return now
        free_at = max(total.windows.free_at(now), part.windows.free_at(now), total.spacing.free_at())
        return max(free_at, self.spread_until)

    @property
    def spread_until(self) -> float:
        """Until when no request of this part starts, for it is spread."""
        return -math.inf if self._bucket is None else self._bucket.free_at()

    def cost_each(self, requests: float) -> None:
        """Spread the requests of this part as if each of them took several."""
        if self._bucket is not None:
            self._bucket.cost = requests

    def start(self, now: float) -> None:
        """Note that a request starts."""
        self._total.start(now)
        self._part.start(now)
        if self._bucket is not None:
            self._bucket.start(now)

    def finish(self, now: float) -> None:
        """Note that a request completed, however it ended."""
        self._total.finish(now)
        self._part.finish(now)


_SPREAD = 0.5
"""The share of the even distance that lies between two requests, at least: at 100 in a second, 5 ms. With all of it
a request that starts late would cost a slot."""


class BreakerState(Enum):
    """Whether requests go at all: all of them when closed, else none but one probe at a time."""

    CLOSED = auto()
    PAUSED = auto()
    OUTAGE = auto()
    HALTED = auto()


class CircuitBreaker:
    """Pauses the whole client: no request until a time, then one probe decides whether all may go again.

    ==========  =====================================  ==========================================
    health      CLOSED, or the probe's answer          otherwise (an answer from before the pause)
    ==========  =====================================  ==========================================
    WORKING     → CLOSED                               –
    TROUBLED    → OUTAGE (if it was closed: only when  –
                enough players fail at their first
                try, with no success between)
    PAUSE       → PAUSED                               → PAUSED, or HALTED for longer
    HALT        → HALTED                               → HALTED
    any other   HALTED stays HALTED: only an answer of a working server ends a halt
    NONE        –                                      –
    ==========  =====================================  ==========================================
    """

    def __init__(self) -> None:
        self.state = BreakerState.CLOSED
        self.closed_since = -math.inf
        self.until = -math.inf
        self.failed_probes = 0
        self._asked_until = -math.inf  # by the server, at any time before
        self._probing = False
        self._failing: set[str] = set()

    @property
    def is_probing(self) -> bool:
        """Whether a probe is in flight."""
        return self._probing

    def next_request_at(self) -> float:
        """Return when the next request may go; `inf`: not before the probe's answer."""
        return math.inf if self._probing else self.until

    def start(self) -> bool:
        """Note that a request starts; True if it is the probe."""
        self._probing = self.state is not BreakerState.CLOSED
        return self._probing

    def finish(self, health: ServerHealth, player: str | None, *, probe: bool, now: float, pause: float) -> None:
        """Note what an attempt said.

        Args:
            health: see `ServerHealth`.
            player: whose request it was; None if it failed before, so that this says little about others.
            probe: what `start` returned for it.
            now: the present time.
            pause: seconds to wait, if it comes to a pause or an outage.
        """
        if probe:
            self._probing = False
        decides = probe or self.state is BreakerState.CLOSED
        self.failed_probes += probe and health is not ServerHealth.NONE
        match health:
            case ServerHealth.HALT:
                asked = min(pause, LONGEST_PAUSE)
                self._trip(BreakerState.HALTED, max(self.until, now + max(HALT_PROBE_INTERVAL, asked)))
            case ServerHealth.PAUSE:
                state = BreakerState.HALTED if self.state is BreakerState.HALTED else BreakerState.PAUSED
                self._asked_until = max(self._asked_until, now + min(pause, LONGEST_PAUSE))
                self._trip(state, max(self.until, self._asked_until))
            case ServerHealth.TROUBLED if probe and self.state is BreakerState.HALTED:
                self.until = max(self.until, now + HALT_PROBE_INTERVAL)
            case ServerHealth.TROUBLED if decides:
                self._failing |= {player} if player is not None else set()
                if probe or len(self._failing) >= OUTAGE_PLAYERS:
                    self._trip(BreakerState.OUTAGE, max(self.until, now + pause))
            case ServerHealth.WORKING if decides and self.until <= now:  # else a pause was requested in the meantime
                if self.state is not BreakerState.CLOSED:
                    self.closed_since = now
                self.state, self.until, self.failed_probes = BreakerState.CLOSED, -math.inf, 0
                self._failing.clear()
            case _:
                pass

    def skip_wait(self) -> None:
        """Let the probe of an outage go at once; a pause that the server asked for is not skipped."""
        if self.state is BreakerState.OUTAGE:
            self.until = self._asked_until

    def _trip(self, state: BreakerState, until: float) -> None:
        self.state = state
        self.until = until
        self._failing.clear()
