"""Whether Gameball answers, read off the client's counters; knows no clock, `now` comes in."""

from __future__ import annotations

import logging
import math
import os
import sys
from abc import ABC, abstractmethod
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ._terminal import counted, duration, print_wrapped, printable, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .. import Stats


_PATIENCE = 3.0  # seconds without a success before it is worth a word


@attrs.frozen
class StallStatus:
    """What the user should know.

    Attributes:
        text: in words.
        is_trouble: whether something is wrong; waiting for the pacing is not.
    """

    text: str
    is_trouble: bool


_WAITING = StallStatus("Waiting for room in the rate limit.", is_trouble=False)


class StallDetector:
    """Watches for the moment from which nothing succeeds any more."""

    def __init__(self) -> None:
        self._settled = -1
        self._tries = 0
        self._since = 0.0

    def note(self, now: float, stats: Stats) -> StallStatus | None:
        """Take in the counters; return what the user should know, or None if all is well.

        Args:
            now: seconds, never less than in an earlier call.
            stats: the client's counters.
        """
        settled, tries = stats.delivered + stats.rejected, stats.requests - stats.in_flight
        if settled != self._settled or not stats.pending:
            self._settled, self._tries, self._since = settled, tries, now
            return None
        quiet = now - self._since
        if quiet < _PATIENCE:
            return None
        if tries == self._tries:  # nothing has failed either
            return None if stats.in_flight else _WAITING
        return StallStatus(
            f"Gameball has accepted nothing for {duration(quiet)}: it cannot be reached, or fails, or asks to wait. "
            "Nothing is lost; trying again. Ctrl-C stops.",
            is_trouble=True,
        )


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


if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


_SHORTEST_BAR, _LONGEST_BAR = 10, 30  # columns
_BETWEEN_LINES = 10.0  # seconds between two lines where there is no terminal


@attrs.frozen(kw_only=True)
class Progress:
    """How far a run has come, at one instant.

    Attributes:
        delivered: events delivered.
        rejected: rows in the rejects file.
        requests: requests sent.
        retries: requests that repeated an earlier one.
        rate: events per second of late.
        share: the share of the work done, 0 to 1; None while nobody can know.
        remaining: seconds to go; None while nobody can know.
        stall_detector: what the user should know, if anything.
    """

    delivered: int = 0
    rejected: int = 0
    requests: int = 0
    retries: int = 0
    rate: float = 0.0
    share: float | None = None
    remaining: float | None = None
    stall_detector: StallStatus | None = None

    def in_words(self) -> str:
        """Return the counters as one line."""
        words = [
            f"{counted(self.delivered, 'event')} delivered",
            counted(self.requests, "request"),
            f"{self.rate:,.0f} events/s",
            f"{self.retries:,} retried",
            f"{self.rejected:,} rejected",
        ]
        return ", ".join(words)

    def time_left(self) -> str:
        """Return the time to go as words, empty while nobody can know."""
        return "" if self.remaining is None else f"about {duration(self.remaining)} to go"


class Display(ABC):
    """Shows progress and says things; used as a context manager. If nobody can see it, the run goes on all the same."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return

    @abstractmethod
    def say(self, text: str) -> None:
        """Print one message, whose control characters are shown as escapes."""

    @abstractmethod
    def show(self, progress: Progress, now: float) -> None:
        """Show how far it has come, at this many seconds."""


class Spoken(logging.Handler):
    """Lets the display say what the client warns of; its errors end the run, which says them itself.

    Args:
        display: what says it. Used as a context manager, as long as the client runs.
    """

    def __init__(self, display: Display) -> None:
        super().__init__(logging.WARNING)
        self._display = display
        self._logger = logging.getLogger("gameball_async")

    def emit(self, record: logging.LogRecord) -> None:
        """Say one warning."""
        if record.levelno < logging.ERROR:
            self._display.say(record.getMessage())

    def __enter__(self) -> Self:
        self._logger.addHandler(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._logger.removeHandler(self)


class LineDisplay(Display):
    """Plain lines: one now and then, and one at once when something is wrong."""

    def __init__(self) -> None:
        self._due = 0.0
        self._was_well = True

    def say(self, text: str) -> None:
        """Print one line."""
        with suppress(OSError):
            print_wrapped(text, sys.stderr)

    def show(self, progress: Progress, now: float) -> None:
        """Print a line if one is due, or if the outlook has changed for the worse."""
        self._due = self._due or now + _BETWEEN_LINES
        trouble = (
            progress.stall_detector.text if progress.stall_detector and progress.stall_detector.is_trouble else None
        )
        is_due = now >= self._due or (trouble is not None and self._was_well)
        self._was_well = trouble is None
        if not is_due:
            return
        self._due = now + _BETWEEN_LINES
        self.say(trouble or ", ".join(filter(None, [progress.in_words(), progress.time_left()])))


class Bar(Display):
    """A live bar with the counters below it.

    Args:
        title: what is being sent.
    """

    def __init__(self, title: str) -> None:
        self._title = printable(title)
        self._console = Console(stderr=True, force_terminal=True, highlight=False)
        # refreshed by show() alone: a thread of its own would draw into a closing terminal
        self._live = Live(console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)

    def __enter__(self) -> Self:
        with suppress(OSError):
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._live.stop()

    def say(self, text: str) -> None:
        """Print a message above the bar."""
        with suppress(OSError):
            self._console.print(Text(wrapped(printable(text), sys.stderr)), soft_wrap=True)

    def show(self, progress: Progress, now: float) -> None:
        """Draw the bar anew."""
        with suppress(OSError):
            self._live.update(self._drawn(progress, now), refresh=True)

    def _drawn(self, progress: Progress, now: float) -> Group:
        percent = "" if progress.share is None else f"{progress.share:4.0%}"
        left = progress.time_left()
        # all in one row if it fits; else the time goes to the counters, whose words wrap
        room = self._console.width - len(percent) - 3
        if len(left) > room - cell_len(self._title) - _SHORTEST_BAR:
            counters, left = ", ".join(filter(None, [left, progress.in_words()])), ""
        else:
            counters = progress.in_words()
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
        if progress.stall_detector:
            lines.append(
                Text(progress.stall_detector.text, style="yellow" if progress.stall_detector.is_trouble else "dim")
            )
        return Group(*lines)


def display_for(title: str) -> Display:
    """Choose the display: a bar only where there is a terminal that can draw one."""
    # a console of Windows has no TERM
    term = os.environ.get("TERM", "windows" if sys.platform == "win32" else "dumb")
    can_draw = sys.stderr.isatty() and term not in {"dumb", "unknown", ""}
    return Bar(title) if can_draw else LineDisplay()
