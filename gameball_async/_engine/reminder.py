"""Calls methods a few seconds later, whether or not an event loop runs: in one thread, alive only while needed."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from weakref import WeakMethod

DELAY = 3.0
"""Seconds: longer than any start takes, and soon enough for someone who looks at the log."""


class Reminder:
    """Calls methods of objects that still exist when it is time."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew, in a forked child: the thread is the parent's, and may have held the lock."""
        self._lock = threading.RLock()  # a finalizer or a signal handler may add in the midst of an add
        self._queue: deque[tuple[float, WeakMethod[Callable[[], object]]]] = deque()
        self._is_running = False

    def call_later(self, method: Callable[[], object]) -> None:
        """Call a bound method after `DELAY`, in another thread; its object is not kept alive for that."""
        with self._lock:
            self._queue.append((time.monotonic() + DELAY, WeakMethod(method)))
            if self._is_running:
                return
            try:
                threading.Thread(target=self._run, name="gameball-reminder", daemon=True).start()
            except RuntimeError:  # no more threads, or the interpreter is exiting: best effort
                self._queue.clear()
            else:
                self._is_running = True

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._is_running = False
                    return
                at, reference = self._queue.popleft()
            time.sleep(max(0.0, at - time.monotonic()))
            if (method := reference()) is not None:
                method()
            del method  # otherwise the object would live until the next call


reminder = Reminder()
"""The one of this process."""
