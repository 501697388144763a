"""What a fork must not break: the child never uses, closes or holds what its parent has in SQLite.

A writer is inside SQLite only while it is inside its guard, and a fork waits until nobody is: so the child's copy of
SQLite's own mutexes is free, and a new client in the child can use them.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from contextlib import suppress

_turnstile = threading.Lock()
"""Passed by whoever enters a guard and held during a fork: so a busy writer cannot starve it."""


class ForkGuard:
    """The part of one writer that a fork has to know; entered as a context manager.

    Attributes:
        descriptors: the locks that the writer holds.
        is_inherited: whether this process got it from its parent, and so must leave the files alone.
    """

    def __init__(self) -> None:
        self.descriptors: set[int] = set()
        self.is_inherited = False
        self._kept: list[object] = []
        self._inside = threading.Lock()
        with _turnstile:
            _guards.add(self)

    def keep(self, *objects: object) -> None:
        """Never finalize these in a child: closing a connection there would move the parent's file on."""
        self._kept.extend(objects)

    def __enter__(self) -> None:
        with _turnstile:
            self._inside.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self._inside.release()

    def hold(self) -> None:
        """Wait until the writer is outside, and keep it there."""
        self._inside.acquire()

    def release(self) -> None:
        """Let the writer in again."""
        self._inside.release()

    def renounce(self) -> None:
        """In the child: let go of the parent's locks, which stay locked, and keep its connections for ever."""
        self.is_inherited = True
        for descriptor in self.descriptors:
            with suppress(OSError):
                os.close(descriptor)
        self.descriptors.clear()
        for kept in self._kept:
            # the end of the interpreter finalizes whatever it can reach, but nothing that has a reference too many
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))


_guards: weakref.WeakSet[ForkGuard] = weakref.WeakSet()
_held: list[ForkGuard] = []


def _before() -> None:
    _turnstile.acquire()
    _held.extend(_guards)
    for fork_guard in _held:
        fork_guard.hold()


def _after() -> None:
    for fork_guard in _held:
        fork_guard.release()
    _held.clear()
    _turnstile.release()


def _after_in_child() -> None:
    for fork_guard in _held:
        fork_guard.renounce()
    _after()


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after_in_child)
