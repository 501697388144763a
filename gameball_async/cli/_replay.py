"""Dead letters sent again: each is removed when Gameball has accepted its event, and stays where it is otherwise."""

from __future__ import annotations

import asyncio
import errno
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from .. import AsyncGameball, Batching, RateLimit, Retry
from .._platform import hold_lock, release_lock
from ..errors import JournalError
from ._lines import Draft, InputRow
from ._options import destination
from ._progress import Spoken, display_for
from ._report import requests_in_words
from ._run import Run, RunInput, RunResult, StopReason
from ._terminal import EXIT_CODE, Interrupts, UsageProblem, counted, exiting, print_line, print_table, printable
from ._tracker import RowCounts, RunTracker

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from .. import DeadLetter, DeadLetters, Stats
    from ._journal_commands import Choice
    from ._options import KeyOptions
    from ._progress import Display

_BUFFER_EVENTS = 20_000  # as `send`
_PATIENCE = 3600.0  # seconds track() waits for room, then it is asked again
_MOST_REASONS = 20  # reasons at the end, each in a line


@attrs.frozen(kw_only=True)
class ReplayCommand:
    """What `replay` was asked to do.

    Attributes:
        folder: the journal's folder.
        choice: which letters.
        keys: the account's keys.
        client: further arguments of the client.
        rate: the pacing.
        retry: when a failed request is tried again.
        drain: seconds that what is under way has after a Ctrl-C.
    """

    folder: Path
    choice: Choice
    keys: KeyOptions
    client: dict[str, Any]
    rate: RateLimit
    retry: Retry
    drain: float

    def gameball(self) -> AsyncGameball:
        """Make the client.

        Raises:
            ConfigurationError: if the keys or settings cannot work.
        """
        return AsyncGameball(
            self.keys.api_key,
            secret_key=self.keys.secret_key,
            batching=Batching(buffer_events=_BUFFER_EVENTS, wait_timeout=_PATIENCE),
            retry=self.retry,
            rate=self.rate,
            **self.client,
        )


@attrs.frozen
class _LetterDraft(Draft):
    """The event of one letter.

    Attributes:
        letter_id: the letter's id.
    """

    letter_id: int = attrs.field(default=0, kw_only=True)


class _Reasons:
    """Keeps the first few reasons why letters stay.

    Attributes:
        lines: a letter's id and the reason.
    """

    def __init__(self) -> None:
        self.lines: list[tuple[int, str]] = []

    def add(self, *, file: str, line: int, reason: str, row: bytes) -> None:  # noqa: ARG002 the rejects' signature
        """Take one letter's reason."""
        if len(self.lines) < _MOST_REASONS:
            self.lines.append((line, reason))


class Replay:
    """One `replay` from the first letter to the closing words.

    Args:
        command: what to do.
        letters: the dead letters.
    """

    def __init__(self, command: ReplayCommand, letters: DeadLetters) -> None:
        self._command = command
        self._letters = letters
        self._gameball = command.gameball()
        self._reasons = _Reasons()
        self._delivered: list[int] = []
        self._maybe_twice = 0
        self._tracker = RunTracker(
            names=["dead letters"],
            rejects=self._reasons,
            resends=command.retry.ambiguous == "resend",
            on_delivered=self._note_delivered,
        )

    def run(self) -> int:
        """Send them; returns the exit code."""
        with _alone(self._command.folder):
            ending, sending = asyncio.run(self._run())
        with exiting(EXIT_CODE if ending.how is StopReason.INTERRUPTED else None):
            self._tell(ending, sending.stats, sending.seconds)
        return 0 if ending.how is StopReason.FINISHED and not self._tracker.counts.rejected else 1

    async def _run(self) -> tuple[RunResult, Run]:
        display = display_for("dead letters")
        with Interrupts() as interrupts, display, Spoken(display):
            where = destination(self._command.client)
            display.say(f"Sending dead letters again to {where}. Ctrl-C stops in order.")
            async with self._gameball:
                sending = Run(self._gameball, self._job(display))
                return await sending.run(interrupts), sending

    def _job(self, display: Display) -> RunInput:
        return RunInput(
            rows=map(self._row, self._chosen()),
            tracker=self._tracker,
            display=display,
            expected=lambda: None,
            windows=self._command.rate.windows(),
            drain=self._command.drain,
            note=self._remove_delivered,
        )

    def _chosen(self) -> Iterator[DeadLetter]:
        return self._command.choice.of(self._letters)

    def _row(self, letter: DeadLetter) -> InputRow:
        event = letter.event
        content: Draft | str = "it was damaged in the journal and holds no event: look at it with 'dead-letters show'."
        if event is not None:
            self._maybe_twice += letter.may_have_arrived
            content = _LetterDraft(
                event.player_unique_id,
                event.name,
                letter.metadata,
                event.mobile,
                event.email,
                letter_id=letter.id,
            )
        return InputRow(file=0, line=letter.id, last_line=letter.id, previous=letter.id - 1, raw=b"", content=content)

    def _note_delivered(self, draft: Draft) -> None:
        if isinstance(draft, _LetterDraft):
            self._delivered.append(draft.letter_id)

    def _remove_delivered(self) -> None:
        """Remove what was delivered; called every second, so kill -9 repeats a second at most.

        Raises:
            OSError: if the file cannot be written; that ends the run.
        """
        if not self._delivered:
            return
        try:
            self._letters.drop(self._delivered)
        except JournalError as error:
            raise OSError(errno.EIO, str(error).removesuffix("."), "The file of dead letters") from error
        self._delivered.clear()

    # ---------------------------------------------------------------- words

    def _tell(self, ending: RunResult, stats: Stats, seconds: float) -> None:
        print_table(
            "Dead letters", _in_words(self._tracker.counts, self._tracker.left.rows) + requests_in_words(stats, seconds)
        )
        for letter_id, reason in self._reasons.lines:
            print_line(f"{letter_id} stays: {reason}")
        if (more := self._tracker.counts.rejected - len(self._reasons.lines)) > 0:
            print_line(f"{counted(more, 'further letter')} stayed as well.")
        if self._maybe_twice:
            print_line(f"{counted(self._maybe_twice, 'event')} may have arrived before, and so may count twice.")
        if self._delivered:
            print_line(
                f"{counted(len(self._delivered), 'letter')} could not be removed though Gameball accepted the events: "
                f"drop them before the next replay: {' '.join(map(str, self._delivered))}"
            )
        _tell_ending(ending)


def _in_words(counts: RowCounts, left: int) -> list[tuple[str, str]]:
    possible = [
        ("Dead letters sent again", counts.settled + left - counts.invalid, True),
        ("accepted by Gameball, so removed", counts.delivered, True),
        ("refused by Gameball, so kept", counts.refused, True),
        ("given up, so kept", counts.given_up, False),
        ("sent once, answer lost, so kept", counts.unknown, False),
        ("without an answer, so kept", left, False),
        ("cannot be sent, so kept", counts.invalid, False),
        ("may have been counted twice", counts.maybe_twice, False),
    ]
    return [(words, f"{count:,}") for words, count, always in possible if count or always]


def _tell_ending(ending: RunResult) -> None:
    match ending.how:
        case StopReason.HALTED:
            print_line(f"Stopped: {ending.reason}")
        case StopReason.NO_ROOM:
            print_line(f"Stopped: {ending.reason}")
        case StopReason.INTERRUPTED:
            print_line("Stopped before the end, as you wished. Go on with the same command.")
        case StopReason.FINISHED:
            pass


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """Keep a second replay away, which would send the same letters.

    Raises:
        UsageProblem: if another one is at work.
        OSError: if the lock cannot be tried.
    """
    # the lock's file stays: removing it could let a third process lock another one of the same name
    path = folder / "dead-letters.replay"
    descriptor = hold_lock(path)
    if descriptor is None:
        raise UsageProblem(f"another replay is at work in {printable(str(folder))}: wait until it has ended.")
    try:
        yield
    finally:
        release_lock(descriptor)
