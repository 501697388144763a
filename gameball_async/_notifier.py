"""A bell: it wakes whoever waits at that moment, and nobody later."""

from __future__ import annotations

from contextlib import suppress

import anyio


class Notifier:
    """Wakes all present waiters at once; unlike an event it can ring again, and outlives a loop."""

    __slots__ = ("_event", "_waiting")

    def __init__(self) -> None:
        self._event: anyio.Event | None = None
        self._waiting = 0

    def ring(self) -> None:
        """Wake everyone who waits now."""
        if self._event is not None:
            with suppress(RuntimeError):  # whoever waited in a loop that is gone, or in another thread's
                self._event.set()
            self._event = None

    async def wait(self) -> None:
        """Wait for the next ring."""
        event = self._event = self._event or anyio.Event()
        self._waiting += 1
        try:
            await event.wait()
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._event = None  # an event belongs to a loop, and the next to wait may live in another
