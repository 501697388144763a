"""The command `send`: what must hold before anything is sent, the run itself, and what is said and left at its end."""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from gameball_async import AsyncGameball, Batching, RateLimit, Retry, validate_event
from gameball_async.errors import InvalidEvent

from ._compare import Sent
from ._display import Spoken, display_for
from ._files import STANDARD_INPUT, Files, Trouble, check_header, is_regular
from ._keys import Keys
from ._ledger import Counts, Ledger, counts_from
from ._lineset import LineSet
from ._notes import Note, Notebook, NotesError, file_note
from ._rejects import Rejects
from ._report import print_line, print_table, requests_in_words, rows_in_words, sandbox_in_words
from ._sending import Ending, How, Job, Sending
from ._signals import Interrupts
from ._words import counted, printable

if TYPE_CHECKING:
    from gameball_async.sandbox import Sandbox

    from ._compare import Comparison
    from ._display import Display
    from ._files import Reading
    from ._rows import Draft

_BUFFER_EVENTS = 20_000  # eight minutes of the sustained rate if nothing merges; more would not merge better
_PATIENCE = 3600.0  # seconds track() waits for room, then it is asked again: a file can wait
_MOST_RANGES = 5  # ranges of lines in a sentence


class UsageProblem(Exception):
    """The options cannot work together or with these files; the message says why and what would."""


@attrs.frozen(kw_only=True)
class Order:
    """Everything `send` was asked to do.

    Attributes:
        paths: the files; `-` is standard input.
        reading: how they are read.
        keys: the account's keys.
        rejects: the rejects file; None puts it beside the first file.
        progress: the progress file; None puts it beside the first file, or has none for a pipe.
        resume: whether to go on where an earlier run stopped.
        sandbox: whether to send to an embedded sandbox.
        client: further arguments of the client.
        rate: the pacing.
        retry: when a failed request is tried again.
        drain: seconds that what is under way has after a Ctrl-C.
    """

    paths: tuple[str, ...]
    reading: Reading
    keys: Keys
    rejects: Path | None = None
    progress: Path | None = None
    resume: bool = False
    sandbox: bool = False
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
        if self.sandbox:
            return None
        return self.progress or (_beside(self.paths[0], ".progress") if all(map(is_regular, self.paths)) else None)

    def mapping(self) -> dict[str, Any]:
        """Return the options that decide what the rows mean, as JSON gives them back."""
        options = attrs.asdict(self.reading)
        mapping: dict[str, Any] = json.loads(json.dumps({**options.pop("columns"), **options}))
        return mapping


def check(order: Order) -> None:
    """Make sure that the options fit each other and the files, before anything is sent or written.

    Raises:
        UsageProblem: if they do not.
        MappingError: if a header does not fit.
        OSError: if a file cannot be opened.
    """
    if len(set(order.paths)) < len(order.paths):
        raise UsageProblem("a file is named twice: name each once.")
    if order.sandbox and order.resume:
        raise UsageProblem("--sandbox begins empty each time, so there is nothing to --resume.")
    if order.resume and order.progress_path() is None:
        raise UsageProblem("what comes from a pipe is not noted by itself: give both runs the same --progress FILE.")
    for written in filter(None, (order.rejects_path(), order.progress_path())):
        if written.exists() and any(is_regular(path) and written.samefile(path) for path in order.paths):
            raise UsageProblem(f"{printable(str(written))} is to be read and written: name another file.")
    for path in order.paths:
        if is_regular(path):
            check_header(path, order.reading)


def dry_run(order: Order) -> bool:
    """Validate every row, send nothing, and write the rejects file; returns whether all rows are valid.

    Raises:
        OSError: if the rejects file cannot be written.
    """
    rejects = Rejects(order.rejects_path(), secrets=order.keys.secrets())
    ledger = Ledger(names=order.names(), rejects=rejects)
    valid, troubles = 0, list[Trouble]()
    for row in Files(order.paths, order.reading).rows():
        if isinstance(row, Trouble):
            troubles.append(row)
        elif (reason := _why_not(row.content)) is None:
            valid += 1
        else:
            ledger.reject(row, reason)
    rejects.close()
    invalid = ledger.counts.invalid
    figures = [("Rows read", valid + invalid), ("valid", valid), ("not valid", invalid)]
    print_table(f"{order.title}, checked; nothing was sent", [(words, f"{count:,}") for words, count in figures])
    _print_rejects(ledger.counts, rejects)
    _print_troubles(order, troubles)
    return not invalid and not troubles


def _why_not(content: Draft | str) -> str | None:
    if isinstance(content, str):
        return content
    try:
        validate_event(content.player, content.name, content.metadata, mobile=content.mobile, email=content.email)
    except InvalidEvent as error:
        return str(error)
    return None


def send(order: Order) -> bool:
    """Send the files; returns whether every row was delivered.

    Raises:
        UsageProblem: if they cannot be sent like this.
        ConfigurationError: if the keys or settings cannot work.
        MappingError: if the header of a pipe does not fit.
        NotesError: if the progress file cannot be used.
        OSError: if a file cannot be written.
    """
    with ExitStack() as stack:
        sandbox = stack.enter_context(_embedded()) if order.sandbox else None
        errand = Errand(order, sandbox)
        stack.callback(errand.close)
        return errand.run()


def _embedded() -> Sandbox:
    from gameball_async.sandbox import Sandbox  # noqa: PLC0415 an extra of its own, needed by --sandbox alone

    return Sandbox()


class Errand:
    """One `send` from its preparations to its closing table.

    Args:
        order: what to do.
        sandbox: where to send it, if not to Gameball.
    """

    def __init__(self, order: Order, sandbox: Sandbox | None) -> None:
        self._order = order
        self._sandbox = sandbox
        self._gameball = self._client()
        self._files = [file_note(path) for path in order.paths]
        self._notebook, before = self._open_notes()
        self._rejects = Rejects(
            order.rejects_path(),
            secrets=order.keys.secrets(),
            keep_bytes=before.rejects_bytes if before else None,
        )
        self._before = before
        self._noted: Note | None = None
        self._sent = Sent() if sandbox else None
        settled = [LineSet(file.settled) for file in before.files] if before else []
        self._ledger = Ledger(
            names=order.names(),
            settled=settled,
            counts=counts_from(before.counts) if before else None,
            rejects=self._rejects,
            resends=order.retry.ambiguous == "resend",
            on_delivered=self._sent.add if self._sent else None,
        )
        self._input = Files(order.paths, order.reading, [LineSet(lines.ranges()) for lines in settled])

    def close(self) -> None:
        """Close the files; a progress file without any progress goes."""
        self._rejects.close()
        if self._notebook is None:
            return
        if self._before is None and not self._gameball.stats().accepted and not self._ledger.counts.settled:
            self._notebook.remove()
        self._notebook.close()

    def run(self) -> bool:
        """Send, tell, and leave what is needed to go on; returns whether every row was delivered."""
        ending, sending = asyncio.run(self._run())
        counts, left = self._ledger.counts, self._ledger.left
        is_complete = ending.how is How.FINISHED and not sending.troubles
        lines = rows_in_words(counts, left) + requests_in_words(sending.stats, sending.seconds)
        comparison = self._compare()
        if comparison is not None and self._sandbox is not None:
            lines += sandbox_in_words(comparison, self._sandbox)
        print_table(self._order.title, lines)
        _print_rejects(counts, self._rejects)
        _print_troubles(self._order, sending.troubles)
        _print_ending(ending)
        self._keep_notes(is_complete=is_complete)
        differs = comparison is not None and bool(comparison.differences)
        return is_complete and not counts.rejected and not differs

    async def _run(self) -> tuple[Ending, Sending]:
        display = display_for(self._order.title)
        with Interrupts() as interrupts, display, Spoken(display):
            self._note()
            self._greet(display)
            async with self._gameball:
                sending = Sending(self._gameball, self._job(display))
                return await sending.run(interrupts), sending

    def _client(self) -> AsyncGameball:
        order, keys = self._order, self._order.keys
        where = dict(order.client)
        if self._sandbox is not None:
            where["base_url"] = self._sandbox.url
            # it accepts any; a real one has no business there
            keys = Keys("sandbox", "sandbox")
        return AsyncGameball(
            keys.api_key,
            secret_key=keys.secret_key,
            batching=Batching(buffer_events=_BUFFER_EVENTS, wait_timeout=_PATIENCE),
            retry=order.retry,
            rate=order.rate,
            **where,
        )

    def _job(self, display: Display) -> Job:
        return Job(
            rows=self._input.rows(),
            ledger=self._ledger,
            display=display,
            expected=self._input.expected,
            windows=self._order.rate.windows(),
            drain=self._order.drain,
            note=None if self._notebook is None else self._note,
        )

    # ---------------------------------------------------------------- notes

    def _open_notes(self) -> tuple[Notebook | None, Note | None]:
        path = self._order.progress_path()
        if path is None:
            return None, None
        if not self._order.resume:
            return Notebook.begin(path), None
        notebook, note = Notebook.resume(path)
        if difference := note.difference(self._files, self._order.mapping()):
            notebook.close()
            raise NotesError(
                f"{printable(str(path))} cannot be gone on with: {difference}. "
                "Give the same files and options as then, or delete it to send everything."
            )
        return notebook, note

    def _note(self, *, stopped: bool = False) -> None:
        if self._notebook is None:
            return
        ledger = self._ledger
        files = zip(self._files, ledger.settled(), strict=True)
        note = Note(
            files=tuple(attrs.evolve(file, settled=tuple(settled)) for file, settled in files),
            mapping=self._order.mapping(),
            counts=attrs.asdict(ledger.counts),
            rejects_bytes=self._rejects.size,
            under_way=ledger.under_way + ledger.left.rows,
            maybe_arrived=ledger.left.maybe_arrived,
            stopped=stopped,
        )
        if note != self._noted:
            self._notebook.save(note)
            self._noted = note

    def _keep_notes(self, *, is_complete: bool) -> None:
        if self._notebook is None:
            if not is_complete:
                print_line(f"Nothing was noted. Lines with an outcome: {_lines_in_words(self._ledger)}.")
        elif is_complete:
            self._notebook.remove()
        else:
            self._tell_how_to_go_on()

    def _tell_how_to_go_on(self) -> None:
        left = self._ledger.left
        try:
            self._note(stopped=True)
        except OSError as error:
            print_line(
                f"The progress file could not be written ({error.strerror}): it is some seconds old, and what was "
                "delivered since then would be sent again."
            )
        if left.maybe_arrived:
            print_line(
                f"{counted(left.maybe_arrived, 'event')} had been sent and not answered: Gameball may have counted "
                "them, and they are sent again when you go on."
            )
        print_line("Go on from here: the same command with --resume.")

    # ---------------------------------------------------------------- words

    def _greet(self, display: Display) -> None:
        where = "an embedded sandbox" if self._sandbox else "Gameball"
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


def _beside(path: str, suffix: str) -> Path:
    """Name a file beside an input file; for a pipe, in the working folder."""
    return Path(path + suffix) if is_regular(path) else Path("stdin" + suffix)


def _lines_in_words(ledger: Ledger) -> str:
    (ranges, *_) = ledger.settled()
    words = [f"{first:,} to {last:,}" for first, last in ranges[:_MOST_RANGES]]
    return (", ".join(words) or "none") + (", and further ones" if len(ranges) > _MOST_RANGES else "")


def _print_rejects(counts: Counts, rejects: Rejects) -> None:
    if counts.rejected:
        print_line(
            f"{counted(counts.rejected, 'row')} will not arrive: see {rejects.path}, with line numbers and reasons."
        )


def _print_troubles(order: Order, troubles: list[Trouble]) -> None:
    names = order.names()
    for trouble in troubles:
        print_line(f"{names[trouble.file]} was not read to its end: {trouble.reason}")


def _print_ending(ending: Ending) -> None:
    match ending.how:
        case How.HALTED:
            print_line(f"Stopped, as Gameball refuses this client: {ending.reason} Nothing is lost.")
        case How.NO_ROOM:
            print_line(f"Stopped: {ending.reason} Make room, or name another file.")
        case How.INTERRUPTED:
            print_line("Stopped before the end, as you wished.")
        case How.FINISHED:
            pass
