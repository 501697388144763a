"""Where events go, in words: "Gameball" only if the host is Gameball's."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from .. import RateLimit, Retry, validate_event
from ..errors import InvalidEvent
from ._files import STANDARD_INPUT, Files, ReadFailure, check_header, is_regular
from ._lines import Draft
from ._report import print_findings, print_rejects, print_troubles
from ._terminal import UsageProblem, counted, print_table, print_wrapped, printable, quoted
from ._tracker import Rejects, RunTracker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ._checkpoint import RangeSet
    from ._files import ReadOptions
    from ._options import KeyOptions


@attrs.frozen(kw_only=True)
class SendOptions:
    """Everything `send` was asked to do.

    Attributes:
        paths: the files; `-` is standard input.
        reading: how they are read.
        keys: the account's keys.
        rejects: the rejects file; None puts it beside the first file.
        progress: the progress file; None puts it beside the first file, or has none for a pipe.
        resume: whether to go on where an earlier run stopped.
        sandbox: whether to send to an embedded sandbox.
        dry_run: whether to check the rows only.
        yes: whether to send without asking first.
        client: further arguments of the client.
        rate: the pacing.
        retry: when a failed request is tried again.
        drain: seconds that the requests in flight have after a Ctrl-C.
    """

    paths: tuple[str, ...]
    reading: ReadOptions
    keys: KeyOptions
    rejects: Path | None = None
    progress: Path | None = None
    resume: bool = False
    sandbox: bool = False
    dry_run: bool = False
    yes: bool = False
    client: dict[str, Any] = attrs.field(factory=dict[str, Any])
    rate: RateLimit = attrs.field(factory=RateLimit)
    retry: Retry = attrs.field(factory=Retry)
    drain: float = 10.0

    @property
    def title(self) -> str:
        """What is sent, in a few words."""
        only = "standard input" if self.paths[0] == STANDARD_INPUT else Path(self.paths[0]).name
        return only if len(self.paths) == 1 else f"{len(self.paths)} files"

    def names(self) -> list[str]:
        """Return the files' names, for the rejects."""
        return ["standard input" if path == STANDARD_INPUT else path for path in self.paths]

    def rejects_path(self) -> Path:
        """Return where the rejects go."""
        return self.rejects or _beside(self.paths[0], ".rejects.ndjson")

    def progress_path(self) -> Path | None:
        """Return where the progress is noted; None if it is not."""
        return None if self.sandbox else self._notes_path()

    def _notes_path(self) -> Path | None:
        return self.progress or (_beside(self.paths[0], ".progress") if all(map(is_regular, self.paths)) else None)

    def unfinished(self) -> Path | None:
        """Return the progress file of a run whose rejects file this trial would replace; None if there is none."""
        if not (self.sandbox or self.dry_run) or self.rejects is not None:
            return None
        notes = self._notes_path()
        return notes if notes is not None and notes.exists() else None

    def mapping(self) -> dict[str, Any]:
        """Return the options that decide what the rows mean, as JSON gives them back."""
        options = attrs.asdict(self.reading)
        mapping: dict[str, Any] = json.loads(json.dumps({**options.pop("columns"), **options}))
        return mapping


def check(order: SendOptions) -> None:
    """Make sure that the options fit each other and the files, before anything is sent or written.

    Raises:
        UsageProblem: if they do not.
        MappingError: if a header does not fit.
        OSError: if a file cannot be opened.
    """
    if len({*map(os.path.realpath, order.paths)}) < len(order.paths):
        raise UsageProblem("a file is named twice: name each once.")
    if order.sandbox and order.resume:
        raise UsageProblem("--sandbox begins empty each time, so there is nothing to --resume.")
    if order.resume and order.progress_path() is None:
        raise UsageProblem("what comes from a pipe is not noted by itself: give both runs the same --progress FILE.")
    _check_outputs(order)
    for path in order.paths:
        if is_regular(path):
            check_header(path, order.reading)


def _check_outputs(order: SendOptions) -> None:
    """Make sure that the rejects and the progress have a place of their own.

    Raises:
        UsageProblem: if they do not.
    """
    rejects, progress = order.rejects_path(), order.progress_path()
    if progress is not None and os.path.realpath(rejects) == os.path.realpath(progress):
        raise UsageProblem(f"{printable(str(rejects))} is to hold both rejects and progress: name two files.")
    if not rejects.parent.is_dir():  # it is written when the first row is rejected, which may be hours later
        folder = printable(str(rejects.parent))
        raise UsageProblem(f"the rejects have no place: there is no folder {folder}: make it, or name another file.")
    if (unfinished := order.unfinished()) is not None:
        raise UsageProblem(
            f"{printable(str(unfinished))} tells of a run that is not over, and {printable(str(rejects))} belongs to "
            "it: name another file with --rejects."
        )
    for written in filter(None, (rejects, progress)):
        if written.exists() and any(is_regular(path) and written.samefile(path) for path in order.paths):
            raise UsageProblem(f"{printable(str(written))} is to be read and written: name another file.")


def _beside(path: str, suffix: str) -> Path:
    """Name a file beside an input file; for a pipe, in the working folder."""
    return Path(path + suffix) if is_regular(path) else Path("stdin" + suffix)


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
