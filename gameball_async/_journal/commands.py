"""What the event loop asks of the journal's thread, one object for each call."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import ClassVar, TypeAlias

import attrs

from ..errors import JournalError
from .dead_letters import DeadLetters
from .records import DeadLetterEntry, Loaded, SegmentInfo, StoredEvent
from .segment_file import SegmentFile


class Append:
    """The events of one call are to be stored in the own file. Who asks for that derives from it: one object less.

    Attributes:
        rows: the events; their seqs are the next after `SegmentInfo.next_seq` and what was appended since.
    """

    __slots__ = ()

    segment: ClassVar[None] = None
    rows: Sequence[StoredEvent]

    def answer(self, error: JournalError | None) -> None:
        """Hear that the events are durable, or why they are not stored; called in the loop's thread."""


Completion: TypeAlias = "Append | tuple[Callable[..., object], tuple[object, ...]]"
"""An append that is durable, or a `done` that the loop's thread is to call, and with what."""


@attrs.define
class Seal:
    """A batch is about to be sent."""

    segment: int
    members: Sequence[int]
    mobile: str | None
    email: str | None
    done: Callable[[], None]

    def apply(self, file: SegmentFile, _: DeadLetters) -> Completion:
        """Note it in the file."""
        file.seal(self.members, self.mobile, self.email)
        return self.done, ()


@attrs.define
class Unseal:
    """A batch was split."""

    segment: int
    first: int

    def apply(self, file: SegmentFile, _: DeadLetters) -> None:
        """Make its events ordinary ones."""
        file.unseal(self.first)


@attrs.define
class Ack:
    """Events have their outcome."""

    segment: int
    members: Sequence[int]

    def apply(self, file: SegmentFile, _: DeadLetters) -> None:
        """Delete them."""
        file.forget(self.members)


@attrs.define
class AddDeadLetters:
    """Events will not arrive."""

    segment: int
    letters: Sequence[DeadLetterEntry]

    def apply(self, file: SegmentFile, dead_letters: DeadLetters) -> None:
        """Make them durable among the dead letters, then delete them."""
        dead_letters.add(file.file_id, self.letters)
        file.forget([letter.seq for letter in self.letters])


@attrs.define
class Read:
    """Events are wanted."""

    segment: int
    after: int
    most_events: int
    most_bytes: int
    done: Callable[[Loaded | JournalError], None]


@attrs.define
class Open:
    """The thread is to take its files."""

    done: Callable[[list[SegmentInfo] | JournalError], None]


@attrs.define
class Discard:
    """An adopted file is finished."""

    segment: int


@attrs.define
class Close:
    """The thread is to end."""

    done: Callable[[], None]


Operation: TypeAlias = Append | Seal | Unseal | Ack | AddDeadLetters | Read
"""What is done within a transaction of one file."""

Control: TypeAlias = Open | Discard | Close
"""What is done between two transactions."""


def refusals(operations: Iterable[Operation | Control], failure: JournalError) -> list[Completion]:
    """What is answered when these will never be done; a seal is not, since nothing of it is durable."""
    refused: list[Completion] = []
    for operation in operations:
        match operation:
            case Append():
                refused.append((operation.answer, (failure,)))
            case Read() | Open():
                refused.append((operation.done, (failure,)))
            case Close():
                refused.append((operation.done, ()))
            case _:
                pass
    return refused


ACK_LAG = 0.1
"""Seconds that a change which nobody waits for may be late, so that it joins others' commits."""

_NOTHING, _THE_URGENT, _EVERYTHING = range(3)


class CommandQueue:
    """Both ways between the two threads."""

    def __init__(self) -> None:
        self._operations: deque[Operation | Control] = deque()
        self._completed: deque[Completion] = deque()
        self._wake = threading.Event()
        self._is_urgent = False
        self._listens_to = _EVERYTHING
        self._notify: Callable[[], object] = _nobody
        self._is_notified = False

    # ---------------------------------------------------------------- in the loop's thread

    def rebind(self, notify: Callable[[], object]) -> None:
        """From now on another loop is to be notified."""
        self._notify = notify
        self._is_notified = False
        if self._completed:
            self._ring()

    def urge(self, operation: Operation | Control) -> None:
        """Queue what somebody waits for."""
        self._operations.append(operation)
        self._is_urgent = True
        # set already: the thread is on its way, and clears it before it looks what is here
        if self._listens_to != _NOTHING and not self._wake.is_set():
            self._wake.set()

    def leave(self, operation: Operation | Control) -> None:
        """Queue what nobody waits for: it may lag by ACK_LAG."""
        self._operations.append(operation)
        if self._listens_to == _EVERYTHING:
            self._wake.set()

    def dispatch(self) -> None:
        """Tell of all that is completed, in order."""
        self._is_notified = False
        try:
            for _ in range(len(self._completed)):
                completed = self._completed.popleft()
                if isinstance(completed, Append):
                    completed.answer(None)
                else:
                    done, arguments = completed
                    done(*arguments)
        finally:
            if self._completed:  # one of them raised, or the thread completed more meanwhile
                self._ring()

    # ---------------------------------------------------------------- in either thread

    def answer(self, completed: Iterable[Completion]) -> None:
        """Let the loop know what is completed."""
        self._completed.extend(completed)
        if self._completed:
            self._ring()

    def tell(self) -> None:
        """Let the loop look again, although nothing that it asked for is completed."""
        self._ring()

    def _ring(self) -> None:
        if not self._is_notified:
            self._is_notified = True
            with suppress(RuntimeError):  # the loop has ended; `rebind` names the next one
                self._notify()

    # ---------------------------------------------------------------- in the journal's thread

    def gather(self, timeout: float | None) -> list[Operation | Control]:
        """Wait for something to do, and take all of it.

        Args:
            timeout: seconds to wait, at most.

        Returns:
            The operations, in the order of the calls; none if the time is over.
        """
        self._wake.clear()
        self._listens_to = _EVERYTHING
        if not self._operations:
            self._wake.wait(timeout)
        self._wake.clear()
        self._listens_to = _THE_URGENT
        if self._operations and not self._is_urgent:
            self._wake.wait(ACK_LAG)
        self._listens_to = _NOTHING
        return self.take()

    def take(self) -> list[Operation | Control]:
        """Take what is queued."""
        self._is_urgent = False  # before taking: what comes in between is taken, and wakes us once for nothing
        take = self._operations.popleft
        return [take() for _ in range(len(self._operations))]


def _nobody() -> None:
    """Stands for whoever is to be told."""
