"""The library's own log: an application's handler or filter that raises harms no event."""

from __future__ import annotations

import logging
import math
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, MutableMapping
from typing import Any, Literal
from weakref import WeakMethod


def fields(
    kind: str,
    *,
    status: int | None = None,
    code: int | None = None,
    cause: str | None = None,
    pending: int | None = None,
    **others: str | float | None,
) -> dict[str, str | float]:
    """Return `extra` for a line: attributes of its record for structured logs, without those that are None.

    They are flat and have a prefix: JSON formatters, structlog and OpenTelemetry show such attributes as they are.
    None holds personal data.

    Args:
        kind: what the line is about; it stays when the text changes.
        status: the HTTP status of the answer.
        code: Gameball's error code.
        cause: why.
        pending: events that wait for their outcome.
        others: what only some kinds have.
    """
    values = {"kind": kind, "status": status, "code": code, "cause": cause, "pending": pending, **others}
    return {f"gameball_{name}": value for name, value in values.items() if value is not None}


class _Harmless(logging.LoggerAdapter[logging.Logger]):
    """A logger whose calls do not raise: what goes wrong in them is shown as `logging` shows a handler's own error."""

    def process(self, msg: object, kwargs: MutableMapping[str, Any]) -> tuple[object, MutableMapping[str, Any]]:
        """Keep the call's `extra`, which the base replaces by the adapter's own."""
        return msg, kwargs

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:  # noqa: ANN401 as the base has it
        """Log, as every other method does through this one."""
        try:
            super().log(level, msg, *args, stacklevel=2, **kwargs)
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001 the application's handlers may raise anything, SystemExit as well
            if logging.raiseExceptions:
                traceback.print_exc()


def logger(name: str) -> _Harmless:
    return _Harmless(logging.getLogger(name))


_BEFORE_ANY_CLOCK = -sys.float_info.max

INTERVAL = 60.0
"""Seconds between two lines about the same. A person reads no faster, and a broken shop fails a thousand times."""


class LogThrottle:
    """Counts events, and limits how often they are logged.

    Attributes:
        count: what was not logged yet.
    """

    __slots__ = ("_logged_at", "count")

    def __init__(self) -> None:
        self.count = 0
        self._logged_at = -math.inf

    @property
    def due_at(self) -> float:
        """When to log: at once if not above the present time, `inf` if nothing was counted."""
        return self._logged_at + INTERVAL if self.count else math.inf

    def take(self, now: float) -> int:
        """Take the count, at most once a minute; 0 if it is too early."""
        return self.take_all(now) if self.due_at <= now else 0

    def take_all(self, now: float) -> int:
        """Take the count now."""
        logged, self.count = self.count, 0
        self._logged_at = max(
            now, _BEFORE_ANY_CLOCK
        )  # a client that was not started has no clock: `now` is always -inf
        return logged


_SINGULAR = {"are": "is", "have": "has", "were": "was"}


def counted(count: int, noun: str, verb: Literal["are", "have", "were", ""] = "") -> str:
    """Return `1 event`, `2 events`, `10,000 events`; with a verb, `1 event is`, `2 events are`."""
    words = [f"{count:,}", noun if count == 1 else f"{noun}s", _SINGULAR.get(verb, "") if count == 1 else verb]
    return " ".join(filter(None, words))


DELAY = 3.0
"""Seconds: longer than any start takes, and soon enough for someone who looks at the log."""


class Reminder:
    """Calls methods of objects that still exist when it is time."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start again in a forked child: the thread is the parent's, and may have held the lock."""
        self._lock = threading.RLock()  # a finalizer or a signal handler may call this during a call
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
