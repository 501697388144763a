"""The command `send`, from its preparations to what is said and left at its end."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import attrs

from .. import AsyncGameball, Batching
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
from ._options import KeyOptions, destination
from ._progress import Spoken, display_for
from ._report import (
    Sent,
    print_findings,
    print_rejects,
    print_troubles,
    requests_in_words,
    rows_in_words,
    sandbox_in_words,
)
from ._run import Run, RunInput, RunResult, StopReason
from ._send_options import DeclinedError, confirm
from ._terminal import EXIT_CODE, Interrupts, counted, exiting, print_line, print_table, printable
from ._tracker import Rejects, RunTracker, counts_from

if TYPE_CHECKING:
    from ..sandbox import Sandbox
    from ._progress import Display
    from ._report import Comparison
    from ._send_options import SendOptions

_BUFFER_EVENTS = 20_000  # eight minutes of the sustained rate if nothing merges; more would not merge better
_PATIENCE = 3600.0  # seconds track() waits for room, then it is asked again: a file can wait
_MOST_RANGES = 5  # ranges of lines in a sentence


def send(order: SendOptions) -> int:
    """Send the files; returns the exit code.

    Raises:
        UsageProblem: if they cannot be sent like this.
        ConfigurationError: if the keys or settings cannot work.
        MappingError: if the header of a pipe does not fit.
        NotesError: if the progress file cannot be used.
        OSError: if a file cannot be written.
    """
    with ExitStack() as stack:
        sandbox = stack.enter_context(_embedded()) if order.sandbox else None
        try:
            command = SendCommand(order, sandbox)
        except DeclinedError:
            print_line("Nothing was sent.")
            return 1
        stack.callback(command.close)
        return command.run()


def _embedded() -> Sandbox:
    from ..sandbox import Sandbox  # noqa: PLC0415 an extra of its own, needed by --sandbox alone

    return Sandbox()


class SendCommand:
    """One `send` from its preparations to its closing table.

    Args:
        order: what to do.
        sandbox: where to send it, if not to Gameball.

    Raises:
        DeclinedError: if someone at the terminal does not want it to be sent.
    """

    def __init__(self, order: SendOptions, sandbox: Sandbox | None) -> None:
        self._order = order
        self._sandbox = sandbox
        self._gameball = self._client()
        self._files = [file_note(path) for path in order.paths]
        self._checkpoint_file, before = self._open_notes()
        self._before = before
        settled = [RangeSet(file.settled) for file in before.files] if before else []
        try:
            if sandbox is None:
                confirm(order, settled, destination(order.client))
            self._rejects = self._open_rejects()
        except BaseException:
            self._close_notes(has_begun=False)
            raise
        self._noted: Checkpoint | None = None
        self._sent = Sent() if sandbox else None
        self._tracker = RunTracker(
            names=order.names(),
            settled=settled,
            counts=counts_from(before.counts) if before else None,
            rejects=self._rejects,
            resends=order.retry.ambiguous == "resend",
            on_delivered=self._sent.add if self._sent else None,
        )
        marks = [decode_marks(file.marks) for file in before.files] if before else [()] * len(order.paths)
        self._fingerprints = [Fingerprint(earlier) for earlier in marks]
        left_out = [RangeSet(lines.ranges()) for lines in settled]
        self._input = Files(order.paths, order.reading, left_out, self._fingerprints)

    def close(self) -> None:
        """Close the files; a progress file without any progress goes."""
        self._rejects.close()
        self._close_notes(has_begun=bool(self._gameball.stats().accepted or self._tracker.counts.settled))

    def run(self) -> int:
        """Send, report, and leave what is needed to go on; returns the exit code."""
        ending, sending, trouble = asyncio.run(self._run())
        with exiting(EXIT_CODE if ending.how is StopReason.INTERRUPTED else None):
            is_done = self._report(ending, sending, trouble)
        return 0 if is_done else 1

    def _report(self, ending: RunResult, sending: Run, trouble: OSError | None) -> bool:
        """Print what became of the rows, and what to do next; returns whether every row was delivered."""
        counts, left = self._tracker.counts, self._tracker.left
        is_complete = ending.is_complete(sending)
        lines = rows_in_words(counts, left) + requests_in_words(sending.stats, sending.seconds)
        comparison = self._compare()
        if comparison is not None and self._sandbox is not None:
            lines += sandbox_in_words(comparison, self._sandbox)
        print_table(self._order.title, lines)
        print_rejects(counts, self._rejects, name_files=len(self._order.paths) > 1)
        print_troubles(self._order.names(), sending.troubles)
        print_findings(self._order.names(), self._input.findings)
        _print_ending(ending)
        if not is_complete:
            self._tell_how_to_go_on(trouble)
        differs = comparison is not None and bool(comparison.differences)
        return is_complete and not counts.rejected and not differs

    async def _run(self) -> tuple[RunResult, Run, OSError | None]:
        display = display_for(self._order.title)
        with Interrupts() as interrupts, display, Spoken(display):
            self._note()
            self._greet(display)
            async with self._gameball:
                sending = Run(self._gameball, self._job(display))
                ending = await sending.run(interrupts)
            # before a word, and before the next Ctrl-C can end the process
            return ending, sending, self._keep_notes(is_complete=ending.is_complete(sending))

    def _client(self) -> AsyncGameball:
        order, keys = self._order, self._order.keys
        where = dict(order.client)
        if self._sandbox is not None:
            where["base_url"] = self._sandbox.url
            # it accepts any; a real one has no business there
            keys = KeyOptions("sandbox", "sandbox")
        return AsyncGameball(
            keys.api_key,
            secret_key=keys.secret_key,
            batching=Batching(buffer_events=_BUFFER_EVENTS, wait_timeout=_PATIENCE),
            retry=order.retry,
            rate=order.rate,
            **where,
        )

    def _job(self, display: Display) -> RunInput:
        return RunInput(
            rows=self._input.rows(),
            tracker=self._tracker,
            display=display,
            expected=self._input.expected,
            windows=self._order.rate.windows(),
            drain=self._order.drain,
            note=None if self._checkpoint_file is None else self._note,
        )

    # ---------------------------------------------------------------- notes

    def _open_notes(self) -> tuple[CheckpointFile | None, Checkpoint | None]:
        path = self._order.progress_path()
        if path is None:
            return None, None
        if not self._order.resume:
            return CheckpointFile.begin(path), None
        checkpoint_file, note = CheckpointFile.resume(path)
        if difference := _changed_row(self._order, note) or note.difference(self._files, self._order.mapping()):
            checkpoint_file.close()
            raise CheckpointError(
                f"{printable(str(path))} cannot be gone on with: {difference}. "
                "Give the same files and options as then, or delete it to send everything."
            )
        return checkpoint_file, note

    def _open_rejects(self) -> Rejects:
        path, before = self._order.rejects_path(), self._before
        is_continued = before is not None and before.rejects == str(path.absolute())
        return Rejects(
            path,
            secrets=self._order.keys.secrets(),
            keep_bytes=before.rejects_bytes if before and is_continued else 0,
        )

    def _note(self, *, stopped: bool = False) -> None:
        if self._checkpoint_file is None:
            return
        tracker = self._tracker
        files = zip(self._files, tracker.settled(), self._fingerprints, strict=True)
        note = Checkpoint(
            files=tuple(
                attrs.evolve(file, settled=tuple(settled), marks=encode_marks(fingerprint.marks(settled[-1][1])))
                if settled
                else file
                for file, settled, fingerprint in files
            ),
            mapping=self._order.mapping(),
            counts=attrs.asdict(tracker.counts),
            rejects=str(self._rejects.path.absolute()),
            rejects_bytes=self._rejects.size,
            under_way=tracker.under_way + tracker.left.rows,
            maybe_arrived=tracker.left.maybe_arrived,
            stopped=stopped,
        )
        if note != self._noted:
            self._checkpoint_file.save(note)
            self._noted = note

    def _keep_notes(self, *, is_complete: bool) -> OSError | None:
        """Leave what is needed to go on, and nothing if nothing is; returns why it could not be written."""
        if is_complete and self._checkpoint_file is not None:
            self._checkpoint_file.remove()
            return None
        try:
            self._note(stopped=True)
        except OSError as error:
            return error
        return None

    def _close_notes(self, *, has_begun: bool) -> None:
        if self._checkpoint_file is None:
            return
        if self._before is None and not has_begun:
            self._checkpoint_file.remove()
        self._checkpoint_file.close()

    # ---------------------------------------------------------------- words

    def _tell_how_to_go_on(self, trouble: OSError | None) -> None:
        if self._checkpoint_file is None:
            print_line(f"Nothing was noted. Lines with an outcome: {_lines_in_words(self._tracker)}.")
            return
        if trouble is not None:
            print_line(
                f"The progress file could not be written ({trouble.strerror}): it is some seconds old, and what was "
                "delivered since then would be sent again."
            )
        left = self._tracker.left
        if left.maybe_arrived:
            print_line(
                f"{counted(left.maybe_arrived, 'event')} had been sent and not answered: Gameball may have counted "
                "them, and they are sent again when you go on."
            )
        print_line("Go on from here: the same command with --resume.")

    def _greet(self, display: Display) -> None:
        where = "an embedded sandbox" if self._sandbox else destination(self._order.client)
        display.say(f"Sending {self._order.title} to {where}. Ctrl-C stops in order.")
        if self._before is None:
            return
        counts = counts_from(self._before.counts)
        display.say(f"Going on: {counted(counts.settled, 'row')} had an outcome before.")
        if not self._before.stopped:
            display.say(
                "The run before was cut off. What Gameball accepted in its last second, after its last note, is sent "
                f"again and may count twice; {counted(self._before.under_way, 'row')} were under way then."
            )
        elif self._before.maybe_arrived:
            display.say(
                f"{counted(self._before.maybe_arrived, 'event')} may have arrived before; they are sent again and "
                "may count twice."
            )

    def _compare(self) -> Comparison | None:
        if self._sandbox is None or self._sent is None:
            return None
        return self._sent.compare(self._sandbox.holdings())


def _changed_row(order: SendOptions, note: Checkpoint) -> str | None:
    """Return which row of the files is not what it was, up to the last one that has an outcome; None if all are."""
    if note.mapping != order.mapping() or [file.path for file in note.files] != [*map(absolute, order.paths)]:
        return None  # these are other rows, and that is refused already
    for path, file in zip(order.paths, note.files, strict=True):
        if not file.marks or not is_regular(path):
            continue  # what comes through a pipe is compared as it is read
        fingerprint = Fingerprint(decode_marks(file.marks))
        with closing(Files([path], order.reading, fingerprints=[fingerprint]).rows()) as rows:
            try:
                while not fingerprint.is_verified and next(rows, None) is not None:
                    pass
            except ChangedError as error:
                return str(error)
        if not fingerprint.is_verified:
            return f"{printable(path)} cannot be read as far as then"
    return None


def _lines_in_words(tracker: RunTracker) -> str:
    (ranges, *_) = tracker.settled()
    words = [f"{first:,} to {last:,}" for first, last in ranges[:_MOST_RANGES]]
    return (", ".join(words) or "none") + (", and further ones" if len(ranges) > _MOST_RANGES else "")


def _print_ending(ending: RunResult) -> None:
    match ending.how:
        case StopReason.HALTED:
            print_line(f"Stopped: {ending.reason}")
        case StopReason.NO_ROOM:
            print_line(f"Stopped: {ending.reason} Make room, or name another file.")
        case StopReason.INTERRUPTED:
            print_line("Stopped before the end, as you wished.")
        case StopReason.FINISHED:
            pass
