"""What a recorder was told to let fail: which error strikes which events, and where it shows."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import suppress
from typing import Any

import anyio
import attrs
from anyio.lowlevel import current_token

from .. import (
    BufferFull,
    ClientHalted,
    Delivered,
    DeliveryError,
    Dropped,
    Event,
    FlushTimeout,
    JournalError,
    OutcomeUnknown,
    Receipt,
    Rejected,
)

Fatal = Rejected | Dropped | OutcomeUnknown
"""The event is accepted; this is its outcome."""

Failure = Fatal | BufferFull | JournalError | ClientHalted | FlushTimeout
"""What can be scripted; `Recorder.fail` tells what each of them does."""


@attrs.define
class Rule:
    """One error, and the events that it strikes.

    Attributes:
        error: the error.
        player_unique_id: the only player it strikes; None for all.
        name: the only event name it strikes; None for all.
        left: how many events it still strikes; None for any number.
    """

    error: Failure
    player_unique_id: str | None
    name: str | None
    left: int | None

    def matches(self, event: Event) -> bool:
        """Whether it strikes this event."""
        return (
            self.left != 0
            and self.player_unique_id in (None, event.player_unique_id)
            and self.name in (None, event.name)
        )


class FailureScript:
    """The rules, asked in the order in which they were given."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []

    def add(self, rule: Rule) -> None:
        """Add a rule behind the others.

        Raises:
            TypeError: if its error cannot be scripted.
            ValueError: if its count is below 1.
        """
        if not isinstance(rule.error, Failure):
            given = rule.error.__name__ if isinstance(rule.error, type) else type(rule.error).__name__
            raise TypeError(
                f"fail() was given {given}: give an instance of Rejected, Dropped, OutcomeUnknown, BufferFull, "
                "JournalError, ClientHalted or FlushTimeout."
            )
        if rule.left is not None and rule.left < 1:
            raise ValueError(f"fail(times={rule.left}) strikes nothing: give at least 1, or None for every event.")
        self._rules.append(rule)

    def clear(self) -> None:
        """Forget all rules."""
        self._rules.clear()

    def strike(self, event: Event) -> Failure | None:
        """The error that strikes this event, if one does; it counts as one of the rule's times."""
        rule = next((rule for rule in self._rules if rule.matches(event)), None)
        if rule is None:
            return None
        if rule.left is not None:
            rule.left -= 1
        return rule.error


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
