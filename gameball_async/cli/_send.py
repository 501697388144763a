"""The command `send`: its options, a dry run or a preview, and the run with its progress file and its report."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from _gameball_async_cli import EXIT_CODE

from .. import validate_event
from .._log import counted
from ..errors import InvalidEvent
from ._checkpoint import (
    ChangedError,
    Checkpoint,
    CheckpointError,
    CheckpointFile,
    Fingerprint,
    RangeSet,
    absolute,
    decode_marks,
    encode_marks,
    file_note,
)
from ._files import STANDARD_INPUT, Files, ReadFailure, ReadOptions, check_header, is_regular
from ._lines import Draft
from ._options import ClientOptions, KeyOptions
from ._outcomes import (
    Comparison,
    Rejects,
    RowCounts,
    RunTracker,
    Sent,
    figures,
    print_problems,
    request_figures,
    row_figures,
    sandbox_figures,
)
from ._run import Run, RunResult, StopReason
from ._terminal import UsageProblem, exiting, is_confirmed, print_table, print_wrapped, printable, quoted

if TYPE_CHECKING:
    from ..sandbox import Sandbox


_MOST_SECONDS = 3.0  # for counting; a file that takes longer is estimated
_MOST_NAMES = 10  # event names that are listed, the most frequent ones
_CLOCK_EVERY = 256  # rows between two looks at the clock
_MOST_RANGES = 5  # ranges of lines in a message


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
        return ["standard input" if path == STANDARD_INPUT else path for path in self.paths]

    def rejects_path(self) -> Path:
        return self.rejects or _beside(self.paths[0], ".rejects.ndjson")

    def progress_path(self) -> Path | None:
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
        # the columns have the options that CSV and JSON share
        fields = attrs.evolve(self.reading.fields, event=None, picked=())
        options = attrs.asdict(attrs.evolve(self.reading, fields=fields))
        mapping: dict[str, Any] = json.loads(json.dumps({**options.pop("columns"), **options}))
        return mapping

    def check(self) -> None:
        """Check that the options match each other and the files, before anything is sent or written."""
        if len({*map(os.path.realpath, self.paths)}) < len(self.paths):
            raise UsageProblem("a file is named twice: name each once.")
        if not self.dry_run:
            self.client.check_mode(needs_keys=not self.sandbox)
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
    valid, failures, files = 0, list[ReadFailure](), Files(options.paths, options.reading)
    for row in files.rows():
        if isinstance(row, ReadFailure):
            failures.append(row)
        elif (reason := invalid_reason(row.content, options.client)) is None:
            valid += 1
        else:
            tracker.reject(row, reason)
    rejects.close()
    invalid = tracker.counts.invalid
    lines = figures([("Rows read", valid + invalid, True), ("valid", valid, True), ("not valid", invalid, True)])
    print_table(f"{options.title}, checked; nothing was sent", lines)
    print_problems(options.names(), tracker.counts, rejects, failures, files.findings)
    return 1 if invalid or failures else 0


def invalid_reason(content: Draft | str, client: ClientOptions) -> str | None:
    """Return why a row cannot be sent, or None."""
    if isinstance(content, str):
        return content
    try:
        validate_event(content.player, content.name, content.metadata, mobile=content.mobile, email=content.email)
    except InvalidEvent as error:
        return str(error)
    return client.refusal(content)


# ---------------------------------------------------------------- the question


class DeclinedError(Exception):
    """The user at the terminal does not want to send the events."""


@attrs.define
class FileSummary:
    """The content of the files."""

    events: Counter[str] = attrs.field(factory=Counter[str])
    invalid: int = 0
    rows: float | None = None  # estimated, if only some were counted
    is_complete: bool = True
    warnings: list[str] = attrs.field(factory=list[str])

    def lines(self) -> list[str]:
        names = self.events.most_common(_MOST_NAMES)
        lines = [f"{count:>12,}  {quoted(name)}" for name, count in names]
        if (more := self.events.total() - sum(count for _, count in names)) > 0:
            lines.append(f"{more:>12,}  with {counted(len(self.events) - len(names), 'further name')}")
        if self.invalid:
            lines.append(f"{self.invalid:>12,}  cannot be sent, and go to the rejects file")
        return lines + self.warnings

    def question(self) -> str:
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


def count(options: SendOptions, settled: Sequence[RangeSet], clock: Callable[[], float]) -> FileSummary:
    """Count the unsettled events of regular files by name, in bounded time."""
    regular = [at for at, path in enumerate(options.paths) if is_regular(path)]
    paths = [options.paths[at] for at in regular]
    files = Files(paths, options.reading, [settled[at] for at in regular] if settled else [])
    preview, until = FileSummary(is_complete=len(regular) == len(options.paths)), clock() + _MOST_SECONDS
    for number, row in enumerate(files.rows(), 1):
        if isinstance(row, ReadFailure):
            continue  # the run reports it
        if isinstance(row.content, Draft) and invalid_reason(row.content, options.client) is None:
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


# ---------------------------------------------------------------- the run


def send(options: SendOptions) -> int:
    """Send the files, and return the exit code."""
    with ExitStack() as stack:
        sandbox = stack.enter_context(_embedded()) if options.sandbox else None
        try:
            command = SendCommand(options, sandbox)
        except DeclinedError:
            print_wrapped("Nothing was sent.")
            return 1
        stack.callback(command.close)
        return command.run()


def _embedded() -> Sandbox:
    from ..sandbox import Sandbox  # noqa: PLC0415 a separate extra, only needed by --sandbox

    return Sandbox()


class SendCommand:
    """One `send` from its preparations to the final table."""

    def __init__(self, options: SendOptions, sandbox: Sandbox | None) -> None:
        self._options = options
        self._sandbox = sandbox
        client = options.client
        if sandbox is not None:  # it accepts any key, and must not get a real one
            client = attrs.evolve(
                client,
                keys=KeyOptions("sandbox", "sandbox"),
                address={**client.address, "base_url": sandbox.url},
                is_forced=True,
            )
        self._gameball = client.gameball()
        self._files = [file_note(path) for path in options.paths]
        self._checkpoint_file, self._before = self._open_checkpoint()
        before = self._before
        settled = [RangeSet(file.settled) for file in before.files] if before else []
        try:
            if sandbox is None:
                confirm(options, settled)
            self._rejects = self._open_rejects()
        except BaseException:
            self._close_checkpoint(has_begun=False)
            raise
        self._saved: Checkpoint | None = None
        self._save_error: OSError | None = None
        self._sent = Sent() if sandbox else None
        self._tracker = RunTracker(
            names=options.names(),
            settled=settled,
            counts=RowCounts.of(before.counts) if before else None,
            rejects=self._rejects.add,
            resends=options.client.retry.ambiguous == "resend",
            on_delivered=self._sent.add if self._sent else None,
        )
        marks = [decode_marks(file.marks) for file in before.files] if before else [()] * len(options.paths)
        self._fingerprints = [Fingerprint(earlier) for earlier in marks]
        skipped = [RangeSet(lines.ranges()) for lines in settled]
        self._input = Files(options.paths, options.reading, skipped, self._fingerprints)

    def close(self) -> None:
        """Close the files; a progress file without any progress is deleted."""
        self._rejects.close()
        self._close_checkpoint(has_begun=bool(self._gameball.stats().accepted or self._tracker.counts.settled))

    def run(self) -> int:
        """Send, report, and return the exit code."""
        self._save()
        client = self._options.client
        run = Run(
            self._gameball,
            self._input.rows(),
            self._tracker,
            title=self._options.title,
            windows=client.windows(),
            refusal=client.refusal,
            drain=client.drain,
            reword=client.reword,
            expected=self._input.expected,
            save=self._save,
        )
        result = asyncio.run(run.run(*self._greeting(), on_end=self._save_result))
        with exiting(EXIT_CODE if result.is_interrupted else None):
            is_done = self._report(result)
        return 0 if is_done else 1

    def _report(self, result: RunResult) -> bool:
        """Print the result and how to continue; return whether every row was delivered."""
        counts, names = self._tracker.counts, self._options.names()
        lines = row_figures(counts, result.left, self._tracker.maybe_arrived)
        lines += request_figures(result.stats, result.seconds)
        comparison: Comparison | None = None
        if self._sandbox is not None and self._sent is not None:
            comparison = self._sent.compare(self._sandbox.holdings())
            lines += sandbox_figures(comparison, self._sandbox)
        print_table(self._options.title, lines)
        print_problems(names, counts, self._rejects, result.failures, self._input.findings)
        if counts.unconfirmed:
            print_wrapped(
                f"{counted(counts.unconfirmed, 'event')} had been accepted, and it is unknown how the jobs ended: "
                "they are not sent again. Look into the Events Log of Gameball's dashboard."
            )
        result.print_stop(remedy=" Make room, or name another file.")
        if not result.is_complete:
            self._print_how_to_continue(result.how)
        return result.is_complete and not counts.rejected and not (comparison and comparison.differences)

    def _open_checkpoint(self) -> tuple[CheckpointFile | None, Checkpoint | None]:
        path = self._options.progress_path()
        if path is None:
            return None, None
        if not self._options.resume:
            return CheckpointFile.begin(path), None
        checkpoint_file, before = CheckpointFile.resume(path)
        difference = _changed_row(self._options, before) or before.difference(self._files, self._options.mapping())
        if difference:
            checkpoint_file.close()
            raise CheckpointError(
                f"{printable(path)} cannot be resumed: {difference}. "
                "Give the same files and options as then, or delete it to send everything."
            )
        return checkpoint_file, before

    def _open_rejects(self) -> Rejects:
        path, before = self._options.rejects_path(), self._before
        is_continued = before is not None and before.rejects == str(path.absolute())
        return Rejects(
            path,
            secrets=self._options.client.keys.secrets(),
            keep_bytes=before.rejects_bytes if before and is_continued else 0,
        )

    def _save(self, *, stopped: bool = False) -> None:
        if self._checkpoint_file is None:
            return
        tracker = self._tracker
        files = zip(self._files, tracker.settled(), self._fingerprints, strict=True)
        checkpoint = Checkpoint(
            files=tuple(
                attrs.evolve(file, settled=tuple(settled), marks=encode_marks(fingerprint.marks(settled[-1][1])))
                if settled
                else file
                for file, settled, fingerprint in files
            ),
            mapping=self._options.mapping(),
            counts=attrs.asdict(tracker.counts),
            rejects=str(self._rejects.path.absolute()),
            rejects_bytes=self._rejects.size,
            under_way=tracker.under_way + tracker.left,
            maybe_arrived=tracker.maybe_arrived,
            stopped=stopped,
        )
        if checkpoint != self._saved:
            self._checkpoint_file.save(checkpoint)
            self._saved = checkpoint

    def _save_result(self, result: RunResult) -> None:
        """Save what `--resume` needs, or delete the progress file after a complete run."""
        if result.is_complete and self._checkpoint_file is not None:
            self._checkpoint_file.remove()
            return
        try:
            self._save(stopped=True)
        except OSError as error:
            self._save_error = error

    def _close_checkpoint(self, *, has_begun: bool) -> None:
        if self._checkpoint_file is None:
            return
        if self._before is None and not has_begun:
            self._checkpoint_file.remove()
        self._checkpoint_file.close()

    def _print_how_to_continue(self, how: StopReason) -> None:
        if self._checkpoint_file is None:
            print_wrapped(f"The progress was not saved. Lines with an outcome: {_settled_lines(self._tracker)}.")
            return
        if self._save_error is not None:
            print_wrapped(
                f"The progress file could not be written ({self._save_error.strerror}): it is some seconds old, and "
                "what was delivered since then would be sent again."
            )
        if maybe_arrived := self._tracker.maybe_arrived:
            print_wrapped(
                f"{counted(maybe_arrived, 'event')} had been sent and not answered: Gameball may have counted "
                "them, and they are sent again when you resume."
            )
        print_wrapped("To continue, run the same command with --resume.")
        if how is StopReason.HALTED and self._options.client.mode == "bulk":
            print_wrapped("If Gameball refuses only bulk requests, run it with --mode single --resume.")

    def _greeting(self) -> list[str]:
        where = "an embedded sandbox" if self._sandbox else self._options.client.destination
        lines = [f"Sending {self._options.title} to {where}. Ctrl-C stops in order."]
        before = self._before
        if before is None:
            return lines
        lines.append(f"Resuming: {counted(RowCounts.of(before.counts).settled, 'row')} had an outcome before.")
        if not before.stopped:
            jobs = "" if self._options.client.mode == "single" else ", or as jobs that had not ended"
            lines.append(
                f"The run before was killed. What Gameball accepted in its last second, after its last save{jobs}, is "
                f"sent again and may count twice; {counted(before.under_way, 'row')} had no outcome then."
            )
        elif before.maybe_arrived:
            lines.append(
                f"{counted(before.maybe_arrived, 'event')} may have arrived before; they are sent again and may count "
                "twice."
            )
        return lines


def _changed_row(options: SendOptions, before: Checkpoint) -> str | None:
    """Return which row, up to the last settled one, has changed since then, or None."""
    if before.mapping != options.mapping() or [file.path for file in before.files] != [*map(absolute, options.paths)]:
        return None  # `Checkpoint.difference` reports other files and options
    for path, file in zip(options.paths, before.files, strict=True):
        if not file.marks or not is_regular(path):
            continue  # a pipe is compared while it is read
        fingerprint = Fingerprint(decode_marks(file.marks))
        with closing(Files([path], options.reading, fingerprints=[fingerprint]).rows()) as rows:
            try:
                while not fingerprint.is_verified and next(rows, None) is not None:
                    pass
            except ChangedError as error:
                return str(error)
        if not fingerprint.is_verified:
            return f"{printable(path)} is not readable up to the same row as then"
    return None


def _settled_lines(tracker: RunTracker) -> str:
    (ranges, *_) = tracker.settled()
    words = [f"{first:,} to {last:,}" for first, last in ranges[:_MOST_RANGES]]
    return (", ".join(words) or "none") + (", and further ones" if len(ranges) > _MOST_RANGES else "")
