"""What tests of events before the buffer share: clients and recorders, every call, and the failures reported."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio.to_thread
import pytest

from gameball_async import AsyncGameball, DeliveryError, Dropped, Event, Receipt
from gameball_async.sandbox import Sandbox
from gameball_async.testing import Recorder

from .support import SOON


def quick_client(sandbox: Sandbox, **settings: Any) -> AsyncGameball:
    return AsyncGameball("test-key", base_url=sandbox.url, batching=SOON, rate=None, **settings)


def recorder(_: Sandbox, **settings: Any) -> AsyncGameball:
    return Recorder(**settings)


Make = Callable[..., AsyncGameball]
KINDS: dict[str, Make] = {"client": quick_client, "recorder": recorder}


async def in_track(gameball: AsyncGameball, *arguments: Any) -> Receipt:
    return await gameball.track(*arguments)


async def in_track_nowait(gameball: AsyncGameball, *arguments: Any) -> Receipt:
    return gameball.track_nowait(*arguments)


async def in_track_threadsafe(gameball: AsyncGameball, *arguments: Any) -> Receipt:
    return await anyio.to_thread.run_sync(partial(gameball.track_threadsafe, *arguments))


Call = Callable[..., Awaitable[Receipt]]
CALLS: dict[str, Call] = {
    "track": in_track,
    "track_nowait": in_track_nowait,
    "track_threadsafe": in_track_threadsafe,
}


class Failures:
    def __init__(self) -> None:
        self.seen: list[tuple[Event, DeliveryError]] = []

    def add(self, event: Event, error: DeliveryError) -> None:
        self.seen.append((event, error))


async def outcome_of(receipt: Receipt) -> Dropped:
    assert receipt.done
    with pytest.raises(Dropped) as caught:
        await receipt
    return caught.value
