"""Progress of a run: rate, remaining time, stalls, and their display; `now` is always an argument."""

from __future__ import annotations

import logging
import math
import os
import sys
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Self

import attrs
from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .. import Stats
from .._log import counted
from ._terminal import duration, print_wrapped, printable, wrapped

_PATIENCE = 3.0  # seconds without a success before it is reported


@attrs.frozen
class StallStatus:
    """A message for the user; `is_problem` is False while it only waits for the rate limit."""

    text: str
    is_problem: bool


_WAITING = StallStatus("Waiting for room in the rate limit.", is_problem=False)


class StallDetector:
    """Detect, from the client's counters, that nothing succeeds any more."""

    def __init__(self) -> None:
        self._settled = -1
        self._tries = 0
        self._since = 0.0

    def note(self, now: float, stats: Stats) -> StallStatus | None:
        """Take the counters at `now`; return a message, or None while the run makes progress."""
        settled, tries = stats.delivered + stats.rejected, stats.requests - stats.in_flight
        if settled != self._settled or not stats.pending:
            self._settled, self._tries, self._since = settled, tries, now
            return None
        quiet = now - self._since
        if quiet < _PATIENCE:
            return None
        if stats.jobs:
            jobs = counted(stats.jobs, "job")
            return StallStatus(f"Waiting for {jobs} that Gameball has accepted.", is_problem=False)
        if tries == self._tries:  # nothing has failed either
            return None if stats.in_flight else _WAITING
        return StallStatus(
            f"Gameball has accepted nothing for {duration(quiet)}: it cannot be reached, or fails, or asks to wait. "
            "Nothing is lost; trying again. Ctrl-C stops.",
            is_problem=True,
        )


_EARLIEST = 3.0  # seconds before a rate is meaningful
_FULL_SPEED = 0.9  # of what the rate limit allows; a slower run is limited by the machine, the network or the server
_MEMORY = 30.0  # seconds: the longer window, so that a rate includes its pauses


def earliest_end(requests: float, windows: Sequence[tuple[int, float]]) -> float:
    """Return the least seconds for a number of requests in (requests, seconds) windows that are empty at the start."""
    if requests <= 0 or not windows:
        return 0.0
    *shorter, (count, seconds) = sorted(windows, key=lambda window: window[1])
    full = math.floor(max(requests - 1, 0) / count)
    return full * seconds + earliest_end(requests - full * count, shorter)


def most_requests(seconds: float, windows: Sequence[tuple[int, float]]) -> float:
    """Return how many requests fit into some seconds, with (requests, seconds) windows that are empty at the start."""
    if not windows:
        return math.inf
    *shorter, (count, length) = sorted(windows, key=lambda window: window[1])
    if not shorter:
        return seconds / length * count
    full, rest = divmod(seconds, length)
    return full * count + min(count, most_requests(rest, shorter))


class Rate:
    """Events per second over the last half minute, from the first progress on: the first job may take a while."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, now: float, total: int) -> None:
        if len(self._seen) == 1 and self._seen[0][1] == total:
            self._seen.clear()
        self._seen.append((now, total))
        while len(self._seen) > 2 and self._seen[1][0] <= now - _MEMORY:  # noqa: PLR2004 two points make a line
            self._seen.popleft()

    @property
    def is_known(self) -> bool:
        """Whether it has been observed for long enough to be meaningful."""
        return bool(self._seen) and self._seen[-1][0] - self._seen[0][0] >= _EARLIEST

    def per_second(self) -> float:
        """Return the rate; 0.0 before there is one."""
        if not self._seen:
            return 0.0
        (since, before), (until, after) = self._seen[0], self._seen[-1]
        return (after - before) / (until - since) if until > since else 0.0


@attrs.frozen(kw_only=True)
class Eta:
    """Estimate the remaining time of a run."""

    events_left: float
    events_per_request: float
    requests: int
    elapsed: float
    rate: float

    def remaining(self, windows: Sequence[tuple[int, float]]) -> float:
        """Estimate the seconds until everything is delivered; `windows` are (requests, seconds) of the rate limit."""
        if self.events_left <= 0:
            return 0.0
        requests = self.events_left / max(self.events_per_request, 1.0)
        # counted from the start of the run; after an outage, from now with empty windows
        paced = max(earliest_end(self.requests + requests, windows) - self.elapsed, earliest_end(requests, windows))
        is_limited_elsewhere = self.elapsed >= _EARLIEST and self.requests < _FULL_SPEED * most_requests(
            self.elapsed, windows
        )
        # if only the rate limit applies, the rate counts once it includes the pause of the longest window
        counts = is_limited_elsewhere or self.elapsed >= _MEMORY
        observed = self.events_left / self.rate if self.rate > 0 and counts else 0.0
        return max(paced, observed)


_SHORTEST_BAR, _LONGEST_BAR = 10, 30  # columns
_BETWEEN_LINES = 10.0  # seconds between two lines without a terminal


@attrs.frozen(kw_only=True)
class Progress:
    """The progress of a run at one instant."""

    delivered: int = 0
    rejected: int = 0
    requests: int = 0
    retries: int = 0
    jobs: int = 0
    rate: float = 0.0
    share: float | None = None
    remaining: float | None = None
    status: StallStatus | None = None

    def counters(self) -> str:
        parts = [
            f"{counted(self.delivered, 'event')} delivered",
            counted(self.requests, "request"),
            f"{self.rate:,.0f} events/s",
            f"{self.retries:,} retried",
            f"{self.rejected:,} rejected",
            *([f"{counted(self.jobs, 'job')} under way"] if self.jobs else []),
        ]
        return ", ".join(parts)

    def time_left(self) -> str:
        return "" if self.remaining is None else f"about {duration(self.remaining)} to go"


class Display(AbstractContextManager["Display"], ABC):
    """Show progress and messages within a `with` block; errors of the output do not stop the run."""

    def __exit__(self, *_: object) -> None:
        return

    @abstractmethod
    def say(self, text: str) -> None:
        """Print one message, with control characters escaped."""

    @abstractmethod
    def show(self, progress: Progress, now: float) -> None:
        """Show the progress at `now`, in seconds."""


class WarningsHandler(logging.Handler):
    """Show the client's warnings on a display within a `with` block; the run itself reports its errors."""

    def __init__(self, display: Display, reword: Callable[[str], str] = str) -> None:
        super().__init__(logging.WARNING)
        self._display = display
        self._reword = reword
        self._logger = logging.getLogger("gameball_async")

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.ERROR:
            self._display.say(self._reword(record.getMessage()))

    def __enter__(self) -> Self:
        self._logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)


class LineDisplay(Display):
    """Plain lines: one every ten seconds, and one at once when a problem begins."""

    def __init__(self) -> None:
        self._due = 0.0
        self._was_ok = True

    def say(self, text: str) -> None:
        with suppress(OSError):
            print_wrapped(text, sys.stderr)

    def show(self, progress: Progress, now: float) -> None:
        """Print a line if one is due, or if a problem has begun."""
        self._due = self._due or now + _BETWEEN_LINES
        problem = progress.status.text if progress.status and progress.status.is_problem else None
        is_due = now >= self._due or (problem is not None and self._was_ok)
        self._was_ok = problem is None
        if not is_due:
            return
        self._due = now + _BETWEEN_LINES
        self.say(problem or ", ".join(filter(None, [progress.counters(), progress.time_left()])))


class Bar(Display):
    """A live bar with the counters below it; `title` names what is being sent."""

    def __init__(self, title: str) -> None:
        self._title = printable(title)
        self._console = Console(stderr=True, force_terminal=True, highlight=False)
        # refreshed only by show(): a refresh thread would draw into a closing terminal
        self._live = Live(console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)

    def __enter__(self) -> Self:
        with suppress(OSError):
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._live.stop()

    def say(self, text: str) -> None:
        """Print a message above the bar."""
        with suppress(OSError):
            self._console.print(Text(wrapped(printable(text), sys.stderr)), soft_wrap=True)

    def show(self, progress: Progress, now: float) -> None:
        with suppress(OSError):
            self._live.update(self._drawn(progress, now), refresh=True)

    def _drawn(self, progress: Progress, now: float) -> Group:
        percent = "" if progress.share is None else f"{progress.share:4.0%}"
        left = progress.time_left()
        # one row if it fits; otherwise the time is part of the counters, which wrap
        room = self._console.width - len(percent) - 3
        if len(left) > room - cell_len(self._title) - _SHORTEST_BAR:
            counters, left = ", ".join(filter(None, [left, progress.counters()])), ""
        else:
            counters = progress.counters()
        room -= cell_len(self._title) + len(left)
        bar = ProgressBar(
            total=1.0,
            completed=progress.share or 0.0,
            pulse=progress.share is None,
            animation_time=now,
            width=max(_SHORTEST_BAR, min(_LONGEST_BAR, room)),
        )
        row = Table.grid(padding=(0, 1))
        for _ in range(4):
            row.add_column(no_wrap=True, overflow="ellipsis")
        row.add_row(Text(self._title), bar, Text(percent), Text(left))
        lines: list[Table | Text] = [row, Text(counters, style="dim")]
        if progress.status:
            lines.append(Text(progress.status.text, style="yellow" if progress.status.is_problem else "dim"))
        return Group(*lines)


def display_for(title: str) -> Display:
    """Choose the display: a bar if the terminal can draw one, otherwise lines."""
    # the console of Windows has no TERM
    term = os.environ.get("TERM", "windows" if sys.platform == "win32" else "dumb")
    can_draw = sys.stderr.isatty() and term not in {"dumb", "unknown", ""}
    return Bar(title) if can_draw else LineDisplay()
