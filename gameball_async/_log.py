"""The library's own log: a handler or a filter of the application that raises harms no event."""

from __future__ import annotations

import logging
import math
import sys
import traceback
from typing import Any, Literal


class _Harmless(logging.LoggerAdapter[logging.Logger]):
    """A logger whose calls do not raise: what goes wrong in them is shown as `logging` shows a handler's own error."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:  # noqa: ANN401 as the base has it
        """Log, as every other method does through this one."""
        try:
            super().log(level, msg, *args, stacklevel=2, **kwargs)
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001 whatever the application's handlers raise, SystemExit as well
            if logging.raiseExceptions:
                traceback.print_exc()


def logger(name: str) -> _Harmless:
    """The logger of this name."""
    return _Harmless(logging.getLogger(name))


_BEFORE_ANY_CLOCK = -sys.float_info.max

INTERVAL = 60.0
"""Seconds between two lines about the same. A person reads no faster, and a broken shop fails a thousand times."""


class LogThrottle:
    """Counts what happens, and says when to tell of it.

    Attributes:
        count: what was not told yet.
    """

    __slots__ = ("_told_at", "count")

    def __init__(self) -> None:
        self.count = 0
        self._told_at = -math.inf

    @property
    def due_at(self) -> float:
        """When to tell: at once if not above the present time, `inf` if there is nothing to tell."""
        return self._told_at + INTERVAL if self.count else math.inf

    def take(self, now: float) -> int:
        """How much there is to tell now, at most once a minute; 0 if there is nothing, or it is too early."""
        return self.take_all(now) if self.due_at <= now else 0

    def take_all(self, now: float) -> int:
        """How much there is to tell, for the last time."""
        told, self.count = self.count, 0
        self._told_at = max(now, _BEFORE_ANY_CLOCK)  # a client that was not started has no clock: `now` is always -inf
        return told


_SINGULAR = {"are": "is", "have": "has", "were": "was"}


def counted(count: int, noun: str, verb: Literal["are", "have", "were", ""] = "") -> str:
    """Return `1 event`, `2 events`, `10,000 events`; with a verb, `1 event is`, `2 events are`."""
    words = [f"{count:,}", noun if count == 1 else f"{noun}s", _SINGULAR.get(verb, "") if count == 1 else verb]
    return " ".join(filter(None, words))
