"""`on_failure` is called for every event, also when asyncio cancels the background task in the midst of a close."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from gameball_async import DeliveryError, Event
from gameball_async._engine.network import Transport
from gameball_async.sandbox import Fault, Sandbox

from .support import client, until

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

NAMES = ["comment", "purchase", "review"]


def background() -> asyncio.Task[object]:
    [task] = [task for task in asyncio.all_tasks() if task.get_name() == "gameball_async flusher"]
    return task


@pytest.mark.parametrize("is_cancelled_again", [False, True], ids=["once", "again while it closes connections"])
async def test_calls_that_are_still_queued_are_made_when_the_background_task_is_cancelled_during_a_close(
    *, is_cancelled_again: bool, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    aclose, is_closing_connections = Transport.aclose, asyncio.Event()

    async def close_slowly(transport: Transport) -> None:
        await aclose(transport)
        if is_cancelled_again and not is_closing_connections.is_set():
            is_closing_connections.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(Transport, "aclose", close_slowly)
    sandbox.script(Fault.status(422))
    told: list[str] = []

    async def slow(event: Event, _: DeliveryError) -> None:
        told.append(event.name)
        if len(told) == 1:
            await anyio.sleep_forever()

    gameball = client(sandbox, on_failure=slow)
    await gameball.start()
    for rejected, name in enumerate(NAMES, 1):  # one after another, so that there is one connection
        await gameball.track("player-1", name)
        await gameball.flush()
        assert gameball.stats().rejected == rejected
    await until(lambda: told)
    assert told == NAMES[:1]

    closing = asyncio.ensure_future(gameball.aclose())
    await until(lambda: "closing" in repr(gameball))
    background().cancel()
    if is_cancelled_again:
        await is_closing_connections.wait()
        background().cancel()
    report = await closing

    assert told == NAMES
    assert report.kept == 0
    assert "closed" in repr(gameball)
