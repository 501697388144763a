"""What a run looks like while it runs: a live bar on a terminal, plain lines anywhere else; all of it on stderr."""

from __future__ import annotations

import logging
import os
import sys
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ._words import counted, duration, printable
from ._wrapping import print_wrapped, wrapped

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from ._outlook import StallStatus

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
