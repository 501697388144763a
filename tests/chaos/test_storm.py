"""Faults of the server at random, restarts in between, and of the network."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import anyio
import anyio.to_thread
import pytest

from gameball_async import CloseReport
from gameball_async.sandbox import Fault, Sandbox

from .conftest import SOAK
from .gateway import NETWORK, Gateway, Mood, through
from .storm import ENOUGH, REFUSAL, Figures, Storm

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(400 + 10 * SOAK)]

Note = Callable[[Figures], Figures]


def random_faults(random: Random) -> list[Fault]:
    """Some of all that can go wrong without refusing an event, the client or the way."""

    def often() -> float:
        return random.random() * 0.3

    every = [
        Fault.status(500, probability=often()),
        Fault.status(503, probability=often()),
        Fault.status(500, code=5000, probability=often()),
        Fault.status(429, retry_after=0.1, probability=0.02),
        Fault.status(429, probability=0.02),
        Fault.busy(probability=often()),
        Fault.html(502, probability=often()),
        Fault.reset_before(probability=often()),
        Fault.reset_after(probability=often()),
        Fault.fail_after_applying(probability=often()),
        Fault.truncate(probability=often()),
        Fault.hang(probability=0.01),
        Fault.drip(0.001, size=50, probability=0.05),
        Fault.huge(1024 * 1024, probability=0.02),
        Fault.latency(0, 0.05),
    ]
    return random.sample(every, random.randrange(1, 6))


async def torment(sandbox: Sandbox, seed: int, seconds: float) -> None:
    """Change the faults a few times a second; now and then the server goes away and comes back."""
    random = Random(seed)
    until = anyio.current_time() + seconds
    sandbox.script(REFUSAL)
    while anyio.current_time() < until:
        await anyio.sleep(random.random() * 0.5)
        sandbox.script(REFUSAL, *random_faults(random))
        if random.random() < 0.3:
            await anyio.to_thread.run_sync(sandbox.stop)
            await anyio.sleep(random.random() * 0.3)
            await anyio.to_thread.run_sync(sandbox.start)
    sandbox.script(REFUSAL)


async def test_nothing_is_lost_while_the_server_fails_at_random_and_restarts(
    sandbox: Sandbox, seed: int, seconds: float, note: Note
) -> None:
    """Thousands of players; calls of track, send and flush are cancelled all the time."""
    storm = Storm(sandbox.url, seed)
    async with storm.gameball:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(torment, sandbox, seed, seconds)
            tasks.start_soon(storm.rage, seconds)
        with anyio.fail_after(60):
            await storm.gameball.flush()
    figures = note(await storm.check(sandbox))
    assert figures.players > 300
    assert figures.rejected > 0
    assert figures.ambiguous > 0


async def test_nothing_is_lost_while_the_network_cuts_swallows_and_slows(
    sandbox: Sandbox, seed: int, seconds: float, note: Note
) -> None:
    """One request in ten meets a half-open connection, a lost answer, half of one, or none in time."""
    random = Random(seed)

    def moody() -> Mood:
        return random.choice(NETWORK) if random.random() < 0.1 else through

    sandbox.script(REFUSAL)
    with Gateway(sandbox.url, moody) as gateway:
        storm = Storm(gateway.url, seed, timeout=0.2)
        async with storm.gameball:
            await storm.rage(seconds)
            gateway.mood = lambda: through
            with anyio.fail_after(60):
                await storm.gameball.flush()
        figures = note(await storm.check(sandbox))
    assert figures.players > 300
    assert figures.ambiguous > 0


async def test_a_close_in_the_midst_of_it_reports_whatever_did_not_arrive(sandbox: Sandbox, seed: int) -> None:
    """Callers go on calling meanwhile: they are told, and what they had placed is delivered or in the report."""
    random = Random(seed)
    sandbox.script(REFUSAL, Fault.latency(0, 0.1))
    with Gateway(sandbox.url, lambda: random.choice(NETWORK)) as gateway:
        storm = Storm(gateway.url, seed, timeout=0.2)
        await storm.gameball.start()
        report = CloseReport()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(storm.rage, 1.0)
            while storm.gameball.stats().accepted < ENOUGH // 2:  # noqa: ASYNC110 what is waited for sets no event
                await anyio.sleep(0.01)
            storm.is_closing = True
            report = await storm.gameball.aclose(timeout=0.2)
        assert await storm.check_closed(sandbox, report) > 0
