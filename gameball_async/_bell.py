"""A bell: it wakes whoever waits at that moment, and nobody later."""

from __future__ import annotations

import anyio


class Bell:
    """Wakes all present waiters at once; unlike an event it can ring again."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event: anyio.Event | None = None

    def ring(self) -> None:
        """Wake everyone who waits now."""
        if self._event is not None:
            self._event.set()
            self._event = None

    async def wait(self) -> None:
        """Wait for the next ring."""
        if self._event is None:
            self._event = anyio.Event()
        await self._event.wait()
