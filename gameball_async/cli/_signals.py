"""Ctrl-C, counted: the first asks to stop in order, the second to stop at once, the third is the system's."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType, TracebackType
    from typing import Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Turns SIGINT and SIGTERM into two events, within a `with` block in the main thread.

    Attributes:
        first: set by the first of them.
        second: set by the second.
    """

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._interrupt) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 the signature of a handler
        # a Python handler may run anywhere in the main thread: the loop is told as from another thread
        self._loop.call_soon_threadsafe(self._count)

    def _count(self) -> None:
        if not self.first.is_set():
            self.first.set()
            return
        self.second.set()
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
