"""`on_failure` is called for every event, also when asyncio cancels the background task in the midst of a close."""

from __future__ import annotations

import asyncio
from pathlib import Path

import anyio
import pytest

from gameball_async import DeliveryError, Event
from gameball_async.sandbox import Fault, Sandbox

from .support import client, until

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

NAMES = ["comment", "purchase", "review"]


@pytest.mark.parametrize("has_journal", [False, True], ids=["memory", "journal"])
async def test_calls_that_are_still_queued_are_made_when_the_background_task_is_cancelled_during_a_close(
    *, has_journal: bool, sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.script(Fault.status(422))
    told: list[str] = []

    async def slow(event: Event, _: DeliveryError) -> None:
        told.append(event.name)
        if len(told) == 1:
            await anyio.sleep_forever()

    gameball = client(sandbox, on_failure=slow, journal=tmp_path if has_journal else None)
    await gameball.start()
    for player, name in enumerate(NAMES):
        await gameball.track(f"player-{player}", name)
    await until(lambda: told and gameball.stats().rejected == len(NAMES))
    assert len(told) == 1

    closing = asyncio.ensure_future(gameball.aclose())
    await until(lambda: "closing" in repr(gameball))
    for task in asyncio.all_tasks():
        if task.get_name() == "gameball_async flusher":
            task.cancel()
    report = await closing

    assert sorted(told) == NAMES
    assert report.kept == 0
    assert "closed" in repr(gameball)
