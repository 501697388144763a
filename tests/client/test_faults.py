"""Whatever goes wrong on the way, everything arrives, in order per player, one request at a time."""

from __future__ import annotations

import pytest

from gameball_async.sandbox import Fault, Sandbox

from .support import assert_all_arrived, assert_conserved, assert_well_behaved, client, track_all, workload

pytestmark = pytest.mark.anyio

SCRIPTS = {
    "500 for 1 s": ([Fault.status(500, duration=1)], False),
    "20 % of connections reset": ([Fault.reset_before(probability=0.2)], False),
    "429 with Retry-After 1": ([Fault.status(429, retry_after=1, duration=1)], False),
    "10 % fail after applying": ([Fault.fail_after_applying(probability=0.1)], True),
    "20 % busy (2001)": ([Fault.busy(probability=0.2)], False),
    "half of the answers truncated": ([Fault.truncate(probability=0.5)], False),
}


@pytest.mark.parametrize("script", SCRIPTS)
async def test_nothing_is_lost_or_reordered_under(script: str, sandbox: Sandbox) -> None:
    faults, duplicates = SCRIPTS[script]
    sandbox.script(*faults)
    placed = list(workload(1_000, 100))
    async with client(sandbox) as gameball:
        await track_all(gameball, placed)
        await gameball.flush()
        stats = gameball.stats()
    assert_conserved(stats)
    assert stats.delivered == stats.accepted == len(placed)
    surplus = assert_all_arrived(sandbox, placed, duplicates=duplicates)
    assert bool(surplus) == duplicates
    assert stats.retries > 0 or script.startswith("half")
    assert_well_behaved(sandbox)
