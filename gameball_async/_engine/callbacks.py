"""Calls of `on_failure`, one event after another."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterable

import anyio
from anyio.lowlevel import checkpoint

from .._core.events import Event
from .._core.receipts import Notifier
from .._log import LogThrottle, counted, fields, logger
from ..errors import ConfigurationError, DeliveryError
from .backends import interruption, running_task

OnFailure = Callable[[Event, DeliveryError], Awaitable[None] | None]
"""The user's callback, a function or a coroutine function."""

_log = logger("gameball_async")


class FailureCallbacks:
    """A queue before the user's callback, so that it never runs inside `track` or between two sends.

    Args:
        on_failure: the callback; without one, failures are only logged.
    """

    def __init__(self, on_failure: OnFailure | None) -> None:
        if on_failure is not None and not callable(on_failure):
            raise ConfigurationError("on_failure cannot be called: give a function or a coroutine function.")
        self._on_failure = on_failure
        self._queue: deque[tuple[Event, DeliveryError]] = deque()
        self._added = Notifier()
        self._finishing = False
        self._raised = LogThrottle()
        self._latest = ("", "")

    def add(self, events: Iterable[Event], error: DeliveryError) -> None:
        """Queue events that share one error."""
        if self._on_failure is not None:
            self._queue.extend((event, error) for event in events)
            self._added.ring()

    def __len__(self) -> int:
        return len(self._queue)

    def finish(self) -> None:
        """Let `report` end when its queue is empty."""
        self._finishing = True
        self._added.ring()

    async def report(self) -> None:
        """Call the callback for queued failures, until `finish`."""
        self._finishing = False
        while True:
            await self.report_queued()
            if self._finishing:
                return
            await self._added.wait()

    async def report_queued(self) -> None:
        """Call the callback until the queue is empty."""
        while self._queue:
            await self._report_next()
            self._log_raised(self._raised.take(anyio.current_time()))
            await checkpoint()  # a callback that fills the queue again must not stop the loop

    async def report_without_waiting(self) -> None:
        """Call the callback for the rest after a deadline: coroutines are cancelled at their first await, each alone.

        If asyncio cancels this task, that is raised when all are called.
        """
        cancelled = None
        while self._queue:
            try:
                with anyio.CancelScope(deadline=-math.inf, shield=True):
                    await self._report_next()
            except asyncio.CancelledError as error:
                cancelled = error
        self._log_raised(self._raised.take_all(anyio.current_time()))
        if cancelled is not None:
            raise cancelled

    async def _report_next(self) -> None:
        """Call the callback once; what it raises is logged and harms nothing."""
        event, error = self._queue.popleft()
        try:
            result = self._on_failure(event, error) if self._on_failure else None
        except KeyboardInterrupt:
            raise
        except BaseException as raised:  # noqa: BLE001 also SystemExit, pytest.fail(), another task's cancellation
            self._note_raised(raised, event)
            return
        if not inspect.isawaitable(result):
            return
        task = running_task()
        try:
            await result
        except BaseException as raised:  # noqa: BLE001 likewise
            if (own := interruption(raised, task)) is not None:
                raise own from None
            self._note_raised(raised, event)

    def _note_raised(self, raised: BaseException, event: Event) -> None:
        self._raised.count += 1
        self._latest = type(raised).__name__, event.name

    def _log_raised(self, count: int) -> None:
        """Log that the callback has raised so often: neither its text nor its traceback, they may quote the event."""
        cause, name = self._latest
        extra = fields("on_failure", cause=cause, event=name[:60], events=count)
        if count == 1:
            _log.error("on_failure raised %s for event %.60r", cause, name, extra=extra)
        elif count:
            events = counted(count, "event")
            _log.error("on_failure raised for %s, lastly %s for event %.60r", events, cause, name, extra=extra)
