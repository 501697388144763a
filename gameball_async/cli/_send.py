"""The command `send`: prepare a run, save its progress, and report the result."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import attrs

from _gameball_async_cli import EXIT_CODE

from .._log import counted
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
from ._files import Files, is_regular
from ._options import KeyOptions
from ._report import Comparison, Sent, print_problems, request_figures, row_figures, sandbox_figures
from ._run import Run, RunResult
from ._send_options import DeclinedError, confirm
from ._terminal import exiting, print_table, print_wrapped, printable
from ._tracker import Rejects, RowCounts, RunTracker

if TYPE_CHECKING:
    from ..sandbox import Sandbox
    from ._send_options import SendOptions

_MOST_RANGES = 5  # ranges of lines in a message


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
                client, keys=KeyOptions("sandbox", "sandbox"), address={**client.address, "base_url": sandbox.url}
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
            windows=client.rate.windows(),
            drain=client.drain,
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
        lines = row_figures(counts, self._tracker.left) + request_figures(result.stats, result.seconds)
        comparison: Comparison | None = None
        if self._sandbox is not None and self._sent is not None:
            comparison = self._sent.compare(self._sandbox.holdings())
            lines += sandbox_figures(comparison, self._sandbox)
        print_table(self._options.title, lines)
        print_problems(names, counts, self._rejects, result.failures, self._input.findings)
        result.print_stop(remedy=" Make room, or name another file.")
        if not result.is_complete:
            self._print_how_to_continue()
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

    def _print_how_to_continue(self) -> None:
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

    def _greeting(self) -> list[str]:
        where = "an embedded sandbox" if self._sandbox else self._options.client.destination
        lines = [f"Sending {self._options.title} to {where}. Ctrl-C stops in order."]
        before = self._before
        if before is None:
            return lines
        lines.append(f"Resuming: {counted(RowCounts.of(before.counts).settled, 'row')} had an outcome before.")
        if not before.stopped:
            lines.append(
                "The run before was killed. What Gameball accepted in its last second, after its last save, is sent "
                f"again and may count twice; {counted(before.under_way, 'row')} were under way then."
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
