"""The command `dead-letters replay`: send dead letters again, and delete those that Gameball accepts."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from _gameball_async_cli import EXIT_CODE

from .. import DeadLetter, DeadLetters
from .._log import counted
from .._platform import hold_lock, release_lock
from ..errors import JournalError
from ._lines import Draft, InputRow
from ._options import ClientOptions
from ._outcomes import RunTracker, figures, request_figures
from ._run import Run, RunResult
from ._terminal import UsageProblem, exiting, print_table, print_wrapped, printable

_MOST_REASONS = 20  # reasons at the end, each in a line


@attrs.frozen
class _LetterDraft(Draft):
    """The event of one dead letter."""

    letter_id: int = attrs.field(default=0, kw_only=True)
    may_have_arrived: bool = attrs.field(default=False, kw_only=True)


class Replay:
    """One `replay` from the first letter to the final table."""

    def __init__(self, letters: DeadLetters, chosen: Iterator[DeadLetter], client: ClientOptions) -> None:
        self._letters = letters
        self._chosen = chosen
        self._client = client
        self._gameball = client.gameball()
        self._reasons: list[tuple[int, str]] = []
        self._delivered: list[int] = []
        self._maybe_twice = 0
        self._tracker = RunTracker(
            names=["dead letters"],
            rejects=self._on_rejected,
            resends=client.retry.ambiguous == "resend",
            on_delivered=self._on_delivered,
        )

    def run(self, folder: Path) -> int:
        """Send them, and return the exit code."""
        run = Run(
            self._gameball,
            map(self._row, self._chosen),
            self._tracker,
            title="dead letters",
            windows=self._client.rate.windows(),
            drain=self._client.drain,
            reword=self._client.reword,
            save=self._drop_delivered,
        )
        greeting = f"Sending dead letters again to {self._client.destination}. Ctrl-C stops in order."
        with exclusive(folder):
            result = asyncio.run(run.run(greeting))
        with exiting(EXIT_CODE if result.is_interrupted else None):
            self._report(result)
        return 0 if result.is_complete and not self._tracker.counts.rejected else 1

    def _on_rejected(self, _file: str, letter_id: int, reason: str, _row: bytes) -> None:
        if len(self._reasons) < _MOST_REASONS:
            self._reasons.append((letter_id, reason))

    def _row(self, letter: DeadLetter) -> InputRow:
        event = letter.event
        content: Draft | str = "it was damaged in the journal and has no event: look at it with 'dead-letters show'."
        if event is not None:
            content = _LetterDraft(
                event.player_unique_id,
                event.name,
                letter.metadata,
                event.mobile,
                event.email,
                letter_id=letter.id,
                may_have_arrived=letter.may_have_arrived,
            )
        return InputRow(file=0, line=letter.id, last_line=letter.id, previous=letter.id - 1, raw=b"", content=content)

    def _on_delivered(self, draft: Draft) -> None:
        if isinstance(draft, _LetterDraft):
            self._delivered.append(draft.letter_id)
            self._maybe_twice += draft.may_have_arrived

    def _drop_delivered(self) -> None:
        """Delete the delivered letters; called every second, so kill -9 repeats at most a second."""
        if not self._delivered:
            return
        try:
            self._letters.drop(self._delivered)
        except JournalError as error:
            raise OSError(errno.EIO, str(error).removesuffix("."), "The file of dead letters") from error
        self._delivered.clear()

    def _report(self, result: RunResult) -> None:
        counts, left, maybe_arrived = self._tracker.counts, self._tracker.left, self._tracker.maybe_arrived
        outcomes = figures(
            [
                ("Dead letters read", counts.settled + left, True),
                ("accepted by Gameball, so removed", counts.delivered, True),
                ("refused by Gameball, so kept", counts.refused, True),
                ("given up, so kept", counts.given_up, False),
                ("sent, of unknown outcome, so kept", counts.unknown, False),
                ("sent, but not answered, so kept", maybe_arrived, False),
                ("not sent yet, so kept", left - maybe_arrived, False),
                ("cannot be sent, so kept", counts.invalid, False),
                ("may have been counted twice", counts.maybe_twice, False),
            ]
        )
        print_table("Dead letters", outcomes + request_figures(result.stats, result.seconds))
        for letter_id, reason in self._reasons:
            print_wrapped(f"{letter_id} stays: {reason}")
        if (more := counts.rejected - len(self._reasons)) > 0:
            print_wrapped(f"{counted(more, 'further letter')} stayed as well.")
        if self._maybe_twice:
            print_wrapped(f"{counted(self._maybe_twice, 'event')} may have arrived before, and so may count twice.")
        if maybe_arrived:
            print_wrapped(
                f"{counted(maybe_arrived, 'event')} had been sent and not answered: Gameball may have counted them, "
                "and they are sent again when you continue."
            )
        if self._delivered:
            print_wrapped(
                f"{counted(len(self._delivered), 'letter')} could not be removed though Gameball accepted the events: "
                f"drop them before the next replay: {' '.join(map(str, self._delivered))}"
            )
        result.print_stop(remedy="", resume=" To continue, run the same command again.")


@contextmanager
def exclusive(folder: Path) -> Generator[None]:
    """Prevent a second replay, which would send the same letters."""
    # the lock file stays: after its removal, a third process could lock another file of the same name
    descriptor = hold_lock(folder / "dead-letters.replay")
    if descriptor is None:
        raise UsageProblem(f"another replay is running in {printable(folder)}: wait until it has ended.")
    try:
        yield
    finally:
        release_lock(descriptor)
