"""When Gameball refuses the client itself, nothing is thrown away, and the user is told at once."""

from __future__ import annotations

import logging

import anyio
import pytest

from gameball_async import Batching, BufferFull, ClientHalted, Dropped, Retry
from gameball_async._core import pacing
from gameball_async.sandbox import Fault, Sandbox

from .support import assert_all_arrived, assert_conserved, assert_well_behaved, client, until

pytestmark = pytest.mark.anyio

REFUSALS = {
    "401": Fault.status(401),
    "403": Fault.status(403),
    "6000": Fault.status(422, code=6000),
    "8000": Fault.status(403, code=8000),
    "404 without a body": Fault.status(404),
    "a redirect": Fault.redirect(),
}


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_a_refused_client_keeps_everything_and_goes_on_by_itself(
    refusal: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pacing, "HALT_PROBE_INTERVAL", 0.2)
    sandbox.script(REFUSALS[refusal])
    placed = [(f"player{number % 20}", "event", number) for number in range(100)]
    async with client(sandbox) as gameball:
        for player, name, number in placed:
            await gameball.track(player, name, {"number": number})
        with pytest.raises(ClientHalted, match="gameball-async doctor"):
            await gameball.flush()
        stats = gameball.stats()
        assert stats.halted is not None
        assert stats.pending == 100
        assert_conserved(stats)
        with pytest.raises(ClientHalted):
            await gameball.flush()
        sandbox.script()
        await until(lambda: gameball.stats().halted is None)
        await gameball.flush()
    assert_all_arrived(sandbox, placed)
    assert_well_behaved(sandbox)
    assert [record.levelno for record in caplog.records if "refuses this client" in record.message] == [logging.ERROR]


async def test_a_halted_client_sends_no_more_than_a_probe_at_a_time(sandbox: Sandbox) -> None:
    sandbox.script(Fault.status(401))
    async with client(sandbox) as gameball:
        await gameball.track("first", "event")
        with pytest.raises(ClientHalted):
            await gameball.flush()
        for number in range(50):
            await gameball.track(f"player{number}", "event")
        with pytest.raises(ClientHalted):
            await gameball.flush()
        assert gameball.stats().requests == 1
        assert gameball.stats().paused_until is not None


async def test_while_halted_nothing_grows_too_old_whatever_the_probes_meet(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacing, "HALT_PROBE_INTERVAL", 0.1)
    sandbox.script(Fault.status(401, times=2), Fault.status(429, times=1), Fault.status(503, times=4))
    placed = [(f"player{number}", "event", number) for number in range(30)]
    async with client(sandbox, retry=Retry(initial=0.01, maximum=0.02, give_up_after=0.15)) as gameball:
        for player, name, number in placed:
            await gameball.track(player, name, {"number": number})
        await until(lambda: gameball.stats().halted)
        await until(lambda: gameball.stats().halted is None)
        await gameball.flush()
        assert gameball.stats().dropped == 0
    assert_all_arrived(sandbox, placed)


async def test_closing_a_halted_client_does_not_wait_and_returns_what_is_left(sandbox: Sandbox) -> None:
    sandbox.script(Fault.status(401))
    gameball = client(sandbox)
    await gameball.start()
    receipt = await gameball.track("player123", "event", {"x": 1}, email="jon.snow@example.com")
    with pytest.raises(ClientHalted):
        await gameball.flush()
    with anyio.fail_after(60):
        report = await gameball.aclose(timeout=60)
    (undelivered,) = report.undelivered
    assert undelivered.event.player_unique_id == "player123"
    assert undelivered.event.metadata == {"x": 1}
    assert undelivered.event.email == "jon.snow@example.com"
    assert isinstance(undelivered.error, Dropped)
    with pytest.raises(Dropped, match="HTTP 401"):
        await receipt
    assert_conserved(gameball.stats())


async def test_a_full_buffer_says_that_the_client_is_halted(sandbox: Sandbox) -> None:
    sandbox.script(Fault.status(401))
    async with client(sandbox, batching=Batching(buffer_events=1, linger=0, when_full="raise")) as gameball:
        await gameball.track("player123", "event")
        with pytest.raises(ClientHalted):
            await gameball.flush()
        with pytest.raises(BufferFull, match="Gameball refuses this client"):
            await gameball.track("player123", "event")
