"""Commands from the event loop to the journal thread, and the queue between the two threads."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import ClassVar, TypeAlias

import attrs

from ..errors import JournalError
from .records import DeadLetterEntry, Loaded, SealRecord, SegmentInfo, StoredEvent


class Append:
    """Append the events of one call to the active segment. Callers subclass it, which saves one object per event.

    Attributes:
        rows: the events; their seqs continue `SegmentInfo.next_seq` and the earlier appends.
    """

    __slots__ = ()

    segment: ClassVar[None] = None
    rows: Sequence[StoredEvent]

    def complete(self, error: JournalError | None) -> None:
        """Handle the result in the event loop's thread: None once the events are durable, else why they are not."""


@attrs.define
class Seal:
    """Record that batches are about to be sent, or which job they belong to."""

    segment: int
    batches: Sequence[SealRecord]
    done: Callable[[], None]


@attrs.define
class Unseal:
    """Dissolve a sealed batch that was split; its events stay."""

    segment: int
    first: int


@attrs.define
class Ack:
    """Delete events that have their outcome."""

    segment: int
    members: Sequence[int]


@attrs.define
class AddDeadLetters:
    """Move events to the dead letters."""

    segment: int
    entries: Sequence[DeadLetterEntry]


@attrs.define
class Read:
    """Load events; see `JournalWriter.read`."""

    segment: int
    after: int
    most_events: int
    most_bytes: int
    done: Callable[[Loaded | JournalError], None]


@attrs.define
class Open:
    """Open the folder and recover orphaned segments."""

    done: Callable[[list[SegmentInfo] | JournalError], None]


@attrs.define
class Discard:
    """Remove a recovered segment whose events all have their outcome."""

    segment: int


@attrs.define
class Close:
    """Close the folder and end the thread."""

    done: Callable[[], None]


Change: TypeAlias = Seal | Unseal | Ack | AddDeadLetters
SegmentCommand: TypeAlias = Append | Change | Read
"""Runs inside a transaction of one segment."""

Command: TypeAlias = SegmentCommand | Open | Discard | Close

Completion: TypeAlias = "Append | tuple[Callable[..., object], tuple[object, ...]]"
"""A durable append, or a `done` with its arguments; both are called in the event loop's thread."""


def refuse(commands: Iterable[Command], error: JournalError) -> list[Completion]:
    """Complete commands that will never run; a seal is not completed, because it is not durable."""
    refused: list[Completion] = []
    for command in commands:
        match command:
            case Append():
                refused.append((command.complete, (error,)))
            case Read() | Open():
                refused.append((command.done, (error,)))
            case Close():
                refused.append((command.done, ()))
            case _:
                pass
    return refused


ACK_LAG = 0.1
"""Seconds by which commands without a waiting caller may be delayed to join a later commit."""

_NOTHING, _URGENT, _EVERYTHING = range(3)


class CommandQueue:
    """Carry commands to the journal thread and completions back to the event loop."""

    def __init__(self) -> None:
        self._commands: deque[Command] = deque()
        self._completions: deque[Completion] = deque()
        self._wake = threading.Event()
        self._is_urgent = False
        self._wakes_for = _EVERYTHING
        self._call_notify: Callable[[], object] = _ignore
        self._is_notified = False

    # ---------------------------------------------------------------- in the event loop's thread

    def rebind(self, notify: Callable[[], object]) -> None:
        """Notify another event loop from now on."""
        self._call_notify = notify
        self._is_notified = False
        if self._completions:
            self.notify()

    def submit(self, command: Command, *, urgent: bool) -> None:
        """Queue a command; one that is not urgent may be delayed by ACK_LAG."""
        self._commands.append(command)
        if not urgent:
            if self._wakes_for == _EVERYTHING:
                self._wake.set()
            return
        self._is_urgent = True
        # already set: the thread is about to run, and clears the event before it takes the commands
        if self._wakes_for != _NOTHING and not self._wake.is_set():
            self._wake.set()

    def dispatch(self) -> None:
        """Call all completions in order."""
        self._is_notified = False
        try:
            for _ in range(len(self._completions)):
                completion = self._completions.popleft()
                if isinstance(completion, Append):
                    completion.complete(None)
                else:
                    done, arguments = completion
                    done(*arguments)
        finally:
            if self._completions:  # one of them raised, or the thread added more
                self.notify()

    # ---------------------------------------------------------------- in either thread

    def complete(self, completions: Iterable[Completion]) -> None:
        """Hand completions to the event loop."""
        self._completions.extend(completions)
        if self._completions:
            self.notify()

    def notify(self) -> None:
        """Make the event loop call `dispatch`, even without completions."""
        if not self._is_notified:
            self._is_notified = True
            with suppress(RuntimeError):  # the event loop has ended; `rebind` names the next one
                self._call_notify()

    # ---------------------------------------------------------------- in the journal thread

    def wait(self, timeout: float | None) -> list[Command]:
        """Wait up to `timeout` seconds for commands, and take all of them."""
        for seconds in self.waits(timeout):
            self._wake.wait(seconds)
        return self.take()

    def waits(self, timeout: float | None) -> Iterator[float | None]:
        """Yield how long to wait for the event `_wake` before commands are taken; None without a limit."""
        self._wake.clear()
        self._wakes_for = _EVERYTHING
        if not self._commands:
            yield timeout
        self._wake.clear()
        self._wakes_for = _URGENT
        if self._commands and not self._is_urgent:
            yield ACK_LAG
        self._wakes_for = _NOTHING

    def take(self) -> list[Command]:
        """Take the queued commands."""
        self._is_urgent = False  # first: a command that arrives in between is taken, at the cost of one useless wake-up
        take = self._commands.popleft
        return [take() for _ in range(len(self._commands))]


def _ignore() -> None:
    """Replace the notification until `rebind`."""
