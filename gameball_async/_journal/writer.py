"""The journal's interface for the event loop: calls return at once, and the journal thread does the work."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from .._config import Journal
from ..errors import JournalError
from .commands import (
    Ack,
    AddDeadLetters,
    Append,
    Close,
    Command,
    CommandQueue,
    Discard,
    Open,
    Read,
    Seal,
    Unseal,
    refuse,
)
from .forks import ForkGuard
from .records import DeadLetterEntry, Loaded, SealRecord, SegmentInfo
from .thread import JournalThread
from .worker import JournalWorker, closed

_Opened = list[SegmentInfo] | JournalError


class JournalWriter:
    """Queue commands for the journal thread; `dispatch` calls their `done`.

    The commands for one segment are applied in the order of the calls. After `close`, or a failed `open`, the journal
    can be opened again.

    Args:
        settings: the folder, and the size limit of the active segment.
        account: the account of the events, see `Endpoint.account`.
    """

    def __init__(self, settings: Journal, account: bytes = b"") -> None:
        self._fork_guard = ForkGuard()
        self._queue = CommandQueue()
        self._worker = JournalWorker(settings, account, self._fork_guard, sleep=time.sleep, clock=time.time)
        self._thread = JournalThread(self._worker, self._queue)
        self._is_open = False

    @property
    def failure(self) -> JournalError | None:
        """Why events cannot be stored now."""
        return _inherited() if self._fork_guard.is_inherited else self._worker.failure

    @property
    def used_bytes(self) -> int:
        """Bytes in use in the active segment, as of the last commit."""
        return self._worker.used_bytes

    @property
    def is_own_thread(self) -> bool:
        """Whether the caller runs in the journal thread, which must not wait for itself."""
        return self._thread.is_current

    def open(self, notify: Callable[[], object], done: Callable[[_Opened], None]) -> None:
        """Start the thread: create the folder and the active segment, and recover orphaned segments.

        Args:
            notify: called in the journal thread; it makes the event loop call `dispatch`.
            done: receives the segments, oldest first, the active one last.
        """
        self.rebind(notify)
        if self._fork_guard.is_inherited:
            self._queue.complete([(done, (_inherited(),))])
            return
        self._is_open = True
        self._queue.submit(Open(lambda result: self._on_opened(result, done)), urgent=True)
        self._thread.start()

    def _on_opened(self, result: _Opened, done: Callable[[_Opened], None]) -> None:
        if isinstance(result, JournalError):  # the thread has ended: nothing else will run these commands
            self._is_open = False
            self._queue.complete(refuse(self._queue.take(), result))
        done(result)

    def rebind(self, notify: Callable[[], object]) -> None:
        """Notify another event loop from now on."""
        self._queue.rebind(notify)

    def append(self, append: Append) -> None:
        """Append the events of one call to the active segment, all or none; `append.complete` gets the result."""
        if self._is_open and not self._fork_guard.is_inherited:  # `_is_usable`, inlined: this runs for every event
            self._queue.submit(append, urgent=True)
        else:
            self._queue.complete([(append.complete, (self.failure or closed(),))])

    def seal(self, segment: int, batches: Sequence[SealRecord], done: Callable[[], None]) -> None:
        """Record that batches are about to be sent, or their job; `done` is called once that is durable."""
        if self._is_usable:
            self._queue.submit(Seal(segment, batches, done), urgent=True)

    def unseal(self, segment: int, first: int) -> None:
        """Dissolve the sealed batch that starts with `first`, so that its events may merge again."""
        self._submit_later(Unseal(segment, first))

    def ack(self, segment: int, members: Sequence[int]) -> None:
        """Delete events that have their outcome, and the sealed batch that starts with the first of them."""
        self._submit_later(Ack(segment, members))

    def dead_letter(self, segment: int, entries: Sequence[DeadLetterEntry]) -> None:
        """Move events to the dead letters."""
        self._submit_later(AddDeadLetters(segment, entries))

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
            segment: the segment's number.
            after: read only events with a greater seq.
            most_events: the limit of events; at least one event is read.
            most_bytes: the limit of encoded bytes. Events of one request are never separated, and may exceed both
                limits.
            done: receives the events; while the segment fails, it is called after the failure has ended.
        """
        if self._is_usable:
            self._queue.submit(Read(segment, after, most_events, most_bytes, done), urgent=True)
        else:
            self._queue.complete([(done, (self.failure or closed(),))])

    def discard(self, segment: int) -> None:
        """Close and remove a recovered segment; one that still holds events is kept."""
        self._submit_later(Discard(segment))

    def close(self, done: Callable[[], None]) -> None:
        """Commit queued commands, close all segments, remove the empty ones, and end the thread."""
        if self._is_usable:
            self._is_open = False
            self._queue.submit(Close(done), urgent=True)
        else:
            self._queue.complete([(done, ())])

    def dispatch(self) -> None:
        """Call the `done` of all completed commands, in order; called in the event loop after `notify`."""
        self._queue.dispatch()

    @property
    def _is_usable(self) -> bool:
        return self._is_open and not self._fork_guard.is_inherited

    def _submit_later(self, command: Command) -> None:
        if self._is_usable:
            self._queue.submit(command, urgent=False)


def _inherited() -> JournalError:
    return JournalError("the journal belongs to the parent of this forked process: create a new client here.")
