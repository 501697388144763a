"""What `send` was asked to do: check it, try it without sending, and ask for confirmation."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from .. import validate_event
from .._log import counted
from ..errors import InvalidEvent
from ._files import STANDARD_INPUT, Files, ReadFailure, ReadOptions, check_header, is_regular
from ._lines import Draft
from ._options import ClientOptions
from ._report import figures, print_problems
from ._terminal import UsageProblem, is_confirmed, print_table, print_wrapped, printable, quoted
from ._tracker import Rejects, RunTracker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ._checkpoint import RangeSet

_MOST_SECONDS = 3.0  # for counting; a file that takes longer is estimated
_MOST_NAMES = 10  # event names that are listed, the most frequent ones
_CLOCK_EVERY = 256  # rows between two looks at the clock


@attrs.frozen(kw_only=True)
class SendOptions:
    """The options of `send`."""

    paths: tuple[str, ...]
    reading: ReadOptions = attrs.field(factory=ReadOptions)
    client: ClientOptions = attrs.field(factory=ClientOptions)
    rejects: Path | None = None
    progress: Path | None = None
    resume: bool = False
    sandbox: bool = False
    dry_run: bool = False
    yes: bool = False

    @property
    def title(self) -> str:
        """A short name for the files."""
        only = "standard input" if self.paths[0] == STANDARD_INPUT else Path(self.paths[0]).name
        return only if len(self.paths) == 1 else f"{len(self.paths)} files"

    def names(self) -> list[str]:
        """Return the files' names, for the rejects."""
        return ["standard input" if path == STANDARD_INPUT else path for path in self.paths]

    def rejects_path(self) -> Path:
        """Return the path of the rejects file."""
        return self.rejects or _beside(self.paths[0], ".rejects.ndjson")

    def progress_path(self) -> Path | None:
        """Return the path of the progress file, or None."""
        return None if self.sandbox else self._progress_path()

    def _progress_path(self) -> Path | None:
        return self.progress or (_beside(self.paths[0], ".progress") if all(map(is_regular, self.paths)) else None)

    def unfinished(self) -> Path | None:
        """Return the progress file of a run whose rejects file this trial would replace, or None."""
        if not (self.sandbox or self.dry_run) or self.rejects is not None:
            return None
        progress = self._progress_path()
        return progress if progress is not None and progress.exists() else None

    def mapping(self) -> dict[str, Any]:
        """Return the options that define the meaning of rows, as JSON returns them."""
        options = attrs.asdict(self.reading)
        mapping: dict[str, Any] = json.loads(json.dumps({**options.pop("columns"), **options}))
        return mapping

    def check(self) -> None:
        """Check that the options match each other and the files, before anything is sent or written."""
        if len({*map(os.path.realpath, self.paths)}) < len(self.paths):
            raise UsageProblem("a file is named twice: name each once.")
        if self.sandbox and self.resume:
            raise UsageProblem("--sandbox begins empty each time, so there is nothing to --resume.")
        if self.resume and self.progress_path() is None:
            raise UsageProblem("a pipe has no progress file by default: give both runs the same --progress FILE.")
        self._check_outputs()
        for path in self.paths:
            if is_regular(path):
                check_header(path, self.reading)

    def _check_outputs(self) -> None:
        rejects, progress = self.rejects_path(), self.progress_path()
        if progress is not None and os.path.realpath(rejects) == os.path.realpath(progress):
            raise UsageProblem(f"{printable(rejects)} is used for both rejects and progress: name two files.")
        if not rejects.parent.is_dir():  # the file is created with the first rejected row, which may be hours later
            folder = printable(rejects.parent)
            raise UsageProblem(
                f"the rejects file cannot be created: there is no folder {folder}: create it, or name another file."
            )
        if (unfinished := self.unfinished()) is not None:
            raise UsageProblem(
                f"{printable(unfinished)} belongs to an unfinished run, and so does {printable(rejects)}: "
                "name another file with --rejects."
            )
        for written in filter(None, (rejects, progress)):
            if written.exists() and any(is_regular(path) and written.samefile(path) for path in self.paths):
                raise UsageProblem(f"{printable(written)} would be both read and written: name another file.")


def _beside(path: str, suffix: str) -> Path:
    """Return the path of a file next to an input file; for a pipe, in the working folder."""
    return Path(path + suffix) if is_regular(path) else Path("stdin" + suffix)


def dry_run(options: SendOptions) -> int:
    """Validate every row as the client does, send nothing, write the rejects file, and return the exit code."""
    rejects = Rejects(options.rejects_path(), secrets=options.client.keys.secrets())
    tracker = RunTracker(names=options.names(), rejects=rejects.add)
    valid, failures = 0, list[ReadFailure]()
    files = Files(options.paths, options.reading)
    for row in files.rows():
        if isinstance(row, ReadFailure):
            failures.append(row)
        elif (reason := invalid_reason(row.content)) is None:
            valid += 1
        else:
            tracker.reject(row, reason)
    rejects.close()
    invalid = tracker.counts.invalid
    lines = figures([("Rows read", valid + invalid, True), ("valid", valid, True), ("not valid", invalid, True)])
    print_table(f"{options.title}, checked; nothing was sent", lines)
    print_problems(options.names(), tracker.counts, rejects, failures, files.findings)
    return 1 if invalid or failures else 0


def invalid_reason(content: Draft | str) -> str | None:
    """Return why a row cannot be sent, or None."""
    if isinstance(content, str):
        return content
    try:
        validate_event(content.player, content.name, content.metadata, mobile=content.mobile, email=content.email)
    except InvalidEvent as error:
        return str(error)
    return None


class DeclinedError(Exception):
    """The user at the terminal does not want to send the events."""


@attrs.define
class Preview:
    """The content of the files."""

    events: Counter[str] = attrs.field(factory=Counter[str])
    invalid: int = 0
    rows: float | None = None  # estimated, if only some were counted
    is_complete: bool = True
    warnings: list[str] = attrs.field(factory=list[str])

    def lines(self) -> list[str]:
        """Format the counts as lines."""
        names = self.events.most_common(_MOST_NAMES)
        lines = [f"{count:>12,}  {quoted(name)}" for name, count in names]
        if (more := self.events.total() - sum(count for _, count in names)) > 0:
            lines.append(f"{more:>12,}  with {counted(len(self.events) - len(names), 'further name')}")
        if self.invalid:
            lines.append(f"{self.invalid:>12,}  cannot be sent, and go to the rejects file")
        return lines + self.warnings

    def question(self) -> str:
        """Return the question for the user."""
        counted_rows = self.events.total() + self.invalid
        if self.is_complete:
            return f"Rewards cannot be taken back. Send {counted(self.events.total(), 'event')}?"
        if self.rows is not None:
            part = f"These are the first {counted_rows:,} of about {self.rows:,.0f} rows. "
        elif counted_rows:
            part = "These are not all: not everything could be counted. "
        else:
            part = "Events from a pipe cannot be counted before they are sent. "
        return f"{part}Rewards cannot be taken back. Send all of it?"


def confirm(options: SendOptions, settled: Sequence[RangeSet]) -> None:
    """Show what will be sent, without settled rows, and ask for confirmation, if a user at a terminal can answer."""
    if options.yes or not can_ask():
        return
    preview = count(options, settled, time.monotonic)
    if preview.is_complete and not preview.events:
        return  # nothing would be sent
    stream = sys.stderr if sys.stderr.isatty() else sys.stdout
    print_wrapped(f"{options.title} to {options.client.destination}:", stream)
    for line in preview.lines():
        print_wrapped(line, stream)
    if not is_confirmed(preview.question(), stream):
        raise DeclinedError


def can_ask() -> bool:
    """Whether a user at a terminal can read a question and answer it."""
    # sys.stdin is None if it was closed before the process started
    return bool(sys.stdin and sys.stdin.isatty()) and (sys.stderr.isatty() or sys.stdout.isatty())


def count(options: SendOptions, settled: Sequence[RangeSet], clock: Callable[[], float]) -> Preview:
    """Count the unsettled events of regular files by name, in bounded time."""
    regular = [at for at, path in enumerate(options.paths) if is_regular(path)]
    paths = [options.paths[at] for at in regular]
    files = Files(paths, options.reading, [settled[at] for at in regular] if settled else [])
    preview, until = Preview(is_complete=len(regular) == len(options.paths)), clock() + _MOST_SECONDS
    for number, row in enumerate(files.rows(), 1):
        if isinstance(row, ReadFailure):
            continue  # the run reports it
        if isinstance(row.content, Draft) and invalid_reason(row.content) is None:
            preview.events[row.content.name] += 1
        else:
            preview.invalid += 1
        if not number % _CLOCK_EVERY and clock() > until:
            preview.rows = files.expected() if preview.is_complete else None
            preview.is_complete = False
            break
    names = options.names()
    preview.warnings = files.findings.messages([names[at] for at in regular])
    return preview
