"""Ctrl-C, SIGTERM and SIGHUP: the first asks to stop in order, the second to stop at once, the third kills."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType, TracebackType
    from typing import Self

EXIT_CODE = 130
"""The exit code of a command that was interrupted: 128 + SIGINT, as shells report it; the same for every signal."""

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")  # Windows has no SIGHUP, and SIGBREAK is its own


_STOP = [signal.Signals[name] for name in _NAMES if name in signal.Signals.__members__]


def _is_ignored(number: signal.Signals) -> bool:
    return signal.getsignal(number) is signal.SIG_IGN


def exit_when_interrupted() -> None:
    """Let each signal that asks to stop end the process with `EXIT_CODE`, unless it is ignored."""
    for number in _STOP:
        if not _is_ignored(number):
            signal.signal(number, _exit)


def _exit(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 the signature of a handler
    if sys.__stderr__ is not None and sys.__stderr__.isatty():
        with suppress(OSError):  # past the buffer, which may be in the midst of a write
            os.write(sys.__stderr__.fileno(), b"\nInterrupted.\n")
    raise SystemExit(EXIT_CODE)


@contextmanager
def keyboard_interrupts() -> Generator[None]:
    """Let every signal that asks to stop raise `KeyboardInterrupt` in the block. For the main thread."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in _STOP if not _is_ignored(number)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Interrupts:
    """Turns the signals that ask to stop into two events, within a `with` block in the main thread.

    Attributes:
        first: set by the first of them.
        second: set by the second.
    """

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> Self:
        # `nohup` ignores SIGHUP; shells ignore SIGINT for what they start in the background, but here it stops a run
        wanted = [number for number in _STOP if number is signal.SIGINT or not _is_ignored(number)]
        self._before = {number: signal.signal(number, self._interrupt) for number in wanted}
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
        for number in self._before:
            signal.signal(number, signal.SIG_DFL)
