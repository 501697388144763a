"""What Prometheus would scrape."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from gameball_async import AsyncGameball, Batching
from gameball_async.sandbox import Fault, Sandbox

from .collector import GameballCollector

pytestmark = pytest.mark.asyncio


async def test_a_scrape_tells_what_stats_tells(gameball_sandbox: Sandbox) -> None:
    gameball_sandbox.script(Fault.status(422, code=3003, events={"bad"}), Fault.status(401, players={"stranger"}))
    batching = Batching(linger=0)
    async with AsyncGameball("any-key", base_url=gameball_sandbox.url, batching=batching) as gameball:
        registry = CollectorRegistry()
        registry.register(GameballCollector(gameball))
        await gameball.send("player123", {"good": None})
        await gameball.track("player123", "bad")
        await gameball.flush()
        scraped = generate_latest(registry).decode().splitlines()
        assert "gameball_client_accepted_events_total 2.0" in scraped
        assert "gameball_client_delivered_events_total 1.0" in scraped
        assert "gameball_client_rejected_events_total 1.0" in scraped
        assert "gameball_client_halted 0.0" in scraped
        await gameball.track("stranger", "good")
        with pytest.raises(Exception, match="refuses this client"):
            await gameball.flush()
        scraped = generate_latest(registry).decode().splitlines()
        assert "gameball_client_buffered_events 1.0" in scraped
        assert "gameball_client_halted 1.0" in scraped
        assert "gameball_client_paused 1.0" in scraped
        await gameball.aclose(timeout=0)
