"""What goes between the event loop's thread and the journal's: operations one way, completions the other.

No lock is taken for an event: both ways are deques, and the thread is woken only when it listens.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress

from ._operations import Append, Completion, Control, Operation

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
