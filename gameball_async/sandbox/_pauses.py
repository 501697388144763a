"""Sleeps that a stopping sandbox ends at once."""

from __future__ import annotations

import asyncio


class Stopped(Exception):
    """The sandbox stops: what is being processed is given up."""


class InterruptibleSleep:
    """All sleeps of one running sandbox."""

    def __init__(self) -> None:
        self._sleepers: set[asyncio.Future[None]] = set()
        self._stopped = False

    async def sleep(self, seconds: float) -> None:
        """Sleep, unless there is nothing to sleep.

        Raises:
            Stopped: if the sandbox stops before the time is over.
        """
        if self._stopped:
            raise Stopped
        if seconds <= 0:
            return
        loop = asyncio.get_running_loop()
        sleeper: asyncio.Future[None] = loop.create_future()
        alarm = loop.call_later(seconds, _wake, sleeper)
        self._sleepers.add(sleeper)
        try:
            await sleeper
        finally:
            alarm.cancel()
            self._sleepers.discard(sleeper)

    def stop(self) -> None:
        """Wake all sleepers with `Stopped`, those to come included."""
        self._stopped = True
        for sleeper in self._sleepers:
            if not sleeper.done():
                sleeper.set_exception(Stopped())


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)
