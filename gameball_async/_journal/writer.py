"""The journal as the event loop sees it: every call returns at once, and what it asked for is done in one thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .._config import Journal
from ..errors import JournalError
from .commands import (
    Ack,
    AddDeadLetters,
    Append,
    Close,
    CommandQueue,
    Control,
    Discard,
    Open,
    Operation,
    Read,
    Seal,
    Unseal,
    refusals,
)
from .folder import Folder
from .forks import ForkGuard
from .records import DeadLetterEntry, Loaded, SegmentInfo
from .thread import JournalThread, closed


class JournalWriter:
    """The journal as the event loop sees it: every call returns at once, `done` is called by `dispatch`.

    The operations of one file are applied strictly in the order of the calls. After `open` failed, and after `close`,
    it can be opened again.

    Args:
        settings: the folder, and the bytes that the own file may have.
        account: whose events they are, see `Access.account`.
    """

    def __init__(self, settings: Journal, account: bytes = b"") -> None:
        self._fork_guard = ForkGuard()
        self._exchange = CommandQueue()
        self._worker = JournalThread(Folder(settings.folder), settings, account, self._exchange, self._fork_guard)
        self._is_open = False

    @property
    def failure(self) -> JournalError | None:
        """Why nothing can be stored at present."""
        return _inherited() if self._fork_guard.is_inherited else self._worker.failure

    @property
    def used_bytes(self) -> int:
        """Bytes of the own file in use, as of the last commit."""
        return self._worker.used_bytes

    @property
    def is_own_thread(self) -> bool:
        """Whether the caller runs in the journal's thread, which must not wait for itself."""
        return self._worker.is_own_thread

    # ---------------------------------------------------------------- in the loop's thread

    def open(self, notify: Callable[[], object], done: Callable[[list[SegmentInfo] | JournalError], None]) -> None:
        """Start the thread: make the folder, take the own file, adopt the files whose owner is gone.

        Args:
            notify: called from the thread when something is completed; it lets the loop call `dispatch`.
            done: gets the sources, oldest first, the own file last.
        """
        self.rebind(notify)
        if self._fork_guard.is_inherited:
            self._exchange.answer([(done, (_inherited(),))])
            return
        self._is_open = True
        self._exchange.urge(Open(lambda result: self._opened(result, done)))
        self._worker.start()

    def _opened(
        self, result: list[SegmentInfo] | JournalError, done: Callable[[list[SegmentInfo] | JournalError], None]
    ) -> None:
        if isinstance(result, JournalError):  # the thread has ended, and whatever came meanwhile is nobody's
            self._is_open = False
            self._exchange.answer(refusals(self._exchange.take(), result))
        done(result)

    def rebind(self, notify: Callable[[], object]) -> None:
        """From now on another loop is to be notified."""
        self._exchange.rebind(notify)

    def append(self, append: Append) -> None:
        """Add the events of one call to the own file, all or none; it is told what became of them."""
        if (
            self._is_open and not self._fork_guard.is_inherited
        ):  # `_works`, without a call: this runs for nearly every event
            self._exchange.urge(append)
        else:
            self._exchange.answer([(append.answer, (self.failure or closed(),))])

    def seal(
        self, segment: int, members: Sequence[int], mobile: str | None, email: str | None, done: Callable[[], None]
    ) -> None:
        """The batch of these events, with this contact, is about to be sent; `done` is called when that is durable."""
        if self._works:
            self._exchange.urge(Seal(segment, members, mobile, email, done))

    def unseal(self, segment: int, first: int) -> None:
        """The sealed batch that begins with `first` was split: its events may merge again."""
        self._leave(Unseal(segment, first))

    def forget(self, segment: int, members: Sequence[int]) -> None:
        """These events have their outcome: delete them, and the sealed batch that begins with the first."""
        self._leave(Ack(segment, members))

    def dead_letter(self, segment: int, letters: Sequence[DeadLetterEntry]) -> None:
        """Add these events to the dead letters, then forget them."""
        self._leave(AddDeadLetters(segment, letters))

    def read(
        self,
        segment: int,
        after: int,
        most_events: int,
        most_bytes: int,
        done: Callable[[Loaded | JournalError], None],
    ) -> None:
        """Read events that are in no sealed batch, in order.

        Args:
            segment: the file.
            after: only events with a greater seq.
            most_events: events to read, at most; at least one is read if there is one.
            most_bytes: bytes of encoded events, at most. What must go together is never cut in two,
                and may go over both limits.
            done: gets the events; while the file fails it is called when that is over.
        """
        if self._works:
            self._exchange.urge(Read(segment, after, most_events, most_bytes, done))
        else:
            self._exchange.answer([(done, (self.failure or closed(),))])

    def discard(self, segment: int) -> None:
        """Close and remove an adopted file; it is kept if it still holds events."""
        self._leave(Discard(segment))

    def close(self, done: Callable[[], None]) -> None:
        """Commit what is queued, close all files, remove those without events, end the thread."""
        if self._works:
            self._is_open = False
            self._exchange.urge(Close(done))
        else:
            self._exchange.answer([(done, ())])

    def dispatch(self) -> None:
        """Call the `done` of all that is completed, in order; runs in the loop's thread after `notify`."""
        self._exchange.dispatch()

    @property
    def _works(self) -> bool:
        return self._is_open and not self._fork_guard.is_inherited

    def _leave(self, operation: Operation | Control) -> None:
        if self._works:
            self._exchange.leave(operation)


def _inherited() -> JournalError:
    return JournalError("the journal belongs to the parent of this forked process: make a client of its own here.")
