"""`send --dry-run`: every row is checked as the client would check it, and nothing is sent."""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

import attrs
import click

from .. import validate_event
from ..errors import InvalidEvent
from ._files import Files, ReadFailure, is_regular
from ._lines import Draft
from ._rejects import Rejects
from ._report import print_findings, print_rejects, print_table, print_troubles
from ._terminal import counted, print_wrapped, quoted
from ._tracker import RunTracker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ._send_options import SendOptions
    from ._tracker import RangeSet


def dry_run(order: SendOptions) -> int:
    """Validate every row, send nothing, and write the rejects file; returns the exit code.

    Raises:
        OSError: if the rejects file cannot be written.
    """
    rejects = Rejects(order.rejects_path(), secrets=order.keys.secrets())
    tracker = RunTracker(names=order.names(), rejects=rejects)
    valid, troubles = 0, list[ReadFailure]()
    files = Files(order.paths, order.reading)
    for row in files.rows():
        if isinstance(row, ReadFailure):
            troubles.append(row)
        elif (reason := why_not(row.content)) is None:
            valid += 1
        else:
            tracker.reject(row, reason)
    rejects.close()
    invalid = tracker.counts.invalid
    figures = [("Rows read", valid + invalid), ("valid", valid), ("not valid", invalid)]
    print_table(f"{order.title}, checked; nothing was sent", [(words, f"{count:,}") for words, count in figures])
    print_rejects(tracker.counts, rejects, name_files=len(order.paths) > 1)
    print_troubles(order.names(), troubles)
    print_findings(order.names(), files.findings)
    return 1 if invalid or troubles else 0


def why_not(content: Draft | str) -> str | None:
    """Return why an event cannot be sent; None if it can."""
    if isinstance(content, str):
        return content
    try:
        validate_event(content.player, content.name, content.metadata, mobile=content.mobile, email=content.email)
    except InvalidEvent as error:
        return str(error)
    return None


_MOST_SECONDS = 3.0  # for counting; a file that takes longer is estimated
_MOST_NAMES = 10  # event names that are listed, the most frequent ones
_ROWS_BETWEEN_LOOKS = 256  # at the clock


class DeclinedError(Exception):
    """Someone at the terminal does not want the events to be sent."""


@attrs.define
class Preview:
    """What the files hold.

    Attributes:
        events: events that can be sent, by name.
        invalid: rows that cannot be sent.
        rows: how many rows there are to send, if only a part of them was counted; None if that is unknown.
        is_complete: whether everything was counted.
        warnings: what is odd in the files.
    """

    events: Counter[str] = attrs.field(factory=Counter[str])
    invalid: int = 0
    rows: float | None = None
    is_complete: bool = True
    warnings: list[str] = attrs.field(factory=list[str])

    @property
    def counted_rows(self) -> int:
        """Rows that were counted."""
        return self.events.total() + self.invalid

    def in_words(self) -> list[str]:
        """Return the counts as lines."""
        names = self.events.most_common(_MOST_NAMES)
        lines = [f"{count:>12,}  {quoted(name)}" for name, count in names]
        if (more := self.events.total() - sum(count for _, count in names)) > 0:
            lines.append(f"{more:>12,}  with {counted(len(self.events) - len(names), 'further name')}")
        if self.invalid:
            lines.append(f"{self.invalid:>12,}  cannot be sent, and go to the rejects file")
        return lines + self.warnings


def confirm(order: SendOptions, settled: Sequence[RangeSet], where: str) -> None:
    """Show what is about to be sent and ask whether it may be, if someone at a terminal can answer.

    Args:
        order: what to send.
        settled: the rows of each file that an earlier run has settled; or none.
        where: the destination, in words.

    Raises:
        DeclinedError: if the answer is no.
    """
    if order.yes or not can_ask():
        return
    preview = count(order, settled, time.monotonic)
    if preview.is_complete and not preview.events:
        return  # nothing would be sent
    is_err = sys.stderr.isatty()
    stream = sys.stderr if is_err else sys.stdout
    print_wrapped(f"{order.title} to {where}:", stream)
    for line in preview.in_words():
        print_wrapped(line, stream)
    if not click.confirm(_question(preview), err=is_err):
        raise DeclinedError


def can_ask() -> bool:
    """Whether someone at a terminal can read a question and answer it."""
    return _is_terminal(sys.stdin) and (_is_terminal(sys.stderr) or _is_terminal(sys.stdout))


def _is_terminal(stream: object) -> bool:
    isatty: Callable[[], bool] | None = getattr(stream, "isatty", None)
    return isatty is not None and isatty()


def count(order: SendOptions, settled: Sequence[RangeSet], clock: Callable[[], float]) -> Preview:
    """Count the events of the files by name, in bounded time; what comes through a pipe is read only once, later.

    Args:
        order: what to send.
        settled: the rows of each file to leave out; or none.
        clock: seconds.
    """
    regular = [at for at, path in enumerate(order.paths) if is_regular(path)]
    paths = [order.paths[at] for at in regular]
    files = Files(paths, order.reading, [settled[at] for at in regular] if settled else [])
    preview, until = Preview(is_complete=len(regular) == len(order.paths)), clock() + _MOST_SECONDS
    for number, row in enumerate(files.rows(), 1):
        if isinstance(row, ReadFailure):
            continue  # the run reports it
        if isinstance(row.content, Draft) and why_not(row.content) is None:
            preview.events[row.content.name] += 1
        else:
            preview.invalid += 1
        if not number % _ROWS_BETWEEN_LOOKS and clock() > until:
            preview.rows = files.expected() if preview.is_complete else None
            preview.is_complete = False
            break
    names = order.names()
    preview.warnings = files.findings.messages([names[at] for at in regular])
    return preview


def _question(preview: Preview) -> str:
    if preview.is_complete:
        return f"Rewards cannot be taken back. Send {counted(preview.events.total(), 'event')}?"
    if preview.rows is not None:
        part = f"These are the first {preview.counted_rows:,} of about {preview.rows:,.0f} rows. "
    elif preview.counted_rows:
        part = "These are not all: not everything could be counted. "
    else:
        part = "What comes through a pipe cannot be counted before it is sent. "
    return f"{part}Rewards cannot be taken back. Send all of it?"
