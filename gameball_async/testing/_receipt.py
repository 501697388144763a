"""The receipt that a recorder gives: its outcome is there at once, or comes when the recorder recovers."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import suppress
from typing import Any

import anyio
from anyio.lowlevel import current_token

from .. import Delivered, DeliveryError, Receipt


class _Waiter:
    """Somebody who waits for an outcome, in a loop that may be another thread's."""

    def __init__(self) -> None:
        self.event = anyio.Event()
        native: Any = current_token().native_token
        is_asyncio = isinstance(native, asyncio.AbstractEventLoop)
        self._call_soon = native.call_soon_threadsafe if is_asyncio else native.run_sync_soon

    def wake(self) -> None:
        with suppress(RuntimeError):  # its loop has ended, and so has whoever waited
            self._call_soon(self.event.set)


class RecordedReceipt(Receipt):
    """The promise for one recorded event.

    Attributes:
        outcome: the outcome, once there is one.
    """

    __slots__ = ("_event_name", "_waiters", "outcome")

    def __init__(self, name: str) -> None:  # a receipt of a batch needs the batch, and here is none
        self._event_name = name
        self._waiters: list[_Waiter] = []
        self.outcome: Delivered | DeliveryError | None = None

    def settle(self, outcome: Delivered | DeliveryError) -> None:
        """Set the outcome and wake whoever waits for it, in any thread. Once only."""
        self.outcome = outcome
        for waiter in list(self._waiters):
            waiter.wake()

    @property
    def done(self) -> bool:
        """Whether the outcome is known, so that awaiting does not wait."""
        return self.outcome is not None

    @property
    def durable(self) -> bool:
        """Whether the event is on disk; a recorder has no journal, so it never is."""
        return False

    def __await__(self) -> Generator[Any, Any, Delivered]:
        """Wait for the outcome of this event.

        Raises:
            DeliveryError: the error that `Recorder.fail` gave it.
        """
        return self._wait_for_outcome().__await__()

    async def _wait_for_outcome(self) -> Delivered:
        outcome = await self.wait()
        if isinstance(outcome, Delivered):
            return outcome
        raise outcome.with_traceback(None)

    async def wait(self) -> Delivered | DeliveryError:
        """Wait for the outcome, and return it whatever it is."""
        waiter = _Waiter()
        self._waiters.append(waiter)  # before it looks: another thread may settle it at any time
        try:
            while (outcome := self.outcome) is None:
                await waiter.event.wait()
            return outcome
        finally:
            self._waiters.remove(waiter)

    def __repr__(self) -> str:
        return f"<Receipt {self._event_name!r} {'done' if self.done else 'pending'}>"
