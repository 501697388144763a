"""Fork safety: a forked child never uses, closes or locks its parent's SQLite files.

The journal thread uses SQLite only while it holds its fork guard, and a fork waits until all guards are free. The
child therefore inherits SQLite's mutexes unlocked, and its own new clients can use SQLite.
"""

from __future__ import annotations

import ctypes
import logging
import os
import threading
import weakref
from contextlib import suppress

from .._log import fields, logger

_log = logger("gameball_async")

_fork_lock = threading.RLock()
"""Acquired before each guard and held during a fork, so that a busy thread cannot starve the fork.

Reentrant, because the child's clients, which are reset while it is still held, make guards of their own.
"""


class ForkGuard:
    """Keep forks out while one thread uses SQLite; a context manager.

    Attributes:
        descriptors: the file locks to close in a child.
        is_inherited: whether this process is a child, which must not touch the files.
    """

    def __init__(self) -> None:
        self.descriptors: set[int] = set()
        self.is_inherited = False
        self._pinned: list[object] = []
        self._lock = threading.Lock()
        with _fork_lock:
            _guards.add(self)

    def pin(self, *objects: object) -> None:
        """Never finalize these in a child: closing a connection there would change the parent's files."""
        self._pinned.extend(objects)

    def __enter__(self) -> None:
        with _fork_lock:
            self._lock.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self._lock.release()

    def acquire(self) -> None:
        """Wait until the thread has left the guard, and keep it out."""
        self._lock.acquire()

    def release(self) -> None:
        """Undo `acquire`."""
        self._lock.release()

    def disown(self) -> None:
        """Close the parent's lock files in the child (the parent keeps the locks), and leak its connections."""
        self.is_inherited = True
        for descriptor in self.descriptors:
            with suppress(OSError):
                os.close(descriptor)
        self.descriptors.clear()
        for pinned in self._pinned:
            # interpreter shutdown finalizes all reachable objects, except those with an extra reference
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(pinned))


_guards: weakref.WeakSet[ForkGuard] = weakref.WeakSet()
_held: list[ForkGuard] = []


def _before() -> None:
    _fork_lock.acquire()
    _held.extend(_guards)
    for fork_guard in _held:
        fork_guard.acquire()


def _after() -> None:
    for fork_guard in _held:
        fork_guard.release()
    _held.clear()
    _fork_lock.release()


def _after_in_child() -> None:
    for fork_guard in _held:
        fork_guard.disown()
    _after()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after_in_child)


class DeferredLog:
    """Collect log lines inside a fork guard; they are written outside, because a log handler may fork or block."""

    def __init__(self) -> None:
        self._lines: list[tuple[int, str, tuple[object, ...]]] = []

    def error(self, message: str, *arguments: object) -> None:
        """Add an error."""
        self._lines.append((logging.ERROR, message, arguments))

    def warning(self, message: str, *arguments: object) -> None:
        """Add a warning."""
        self._lines.append((logging.WARNING, message, arguments))

    def write(self) -> None:
        """Write the collected lines."""
        lines, self._lines = self._lines, []
        for level, message, arguments in lines:
            _log.log(level, message, *arguments, extra=fields("journal"))
