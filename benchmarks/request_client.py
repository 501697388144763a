"""One measurement of `benchmarks.request`: a process with the client of the source tree that PYTHONPATH names.

It prints the microseconds of processor time, user and system, of one request with one event, from call to outcome.
"""

from __future__ import annotations

import sys
import time

import anyio
import anyio.lowlevel

from gameball_async import AsyncGameball, Metadata

_METADATA: Metadata = {"total_amount": 100, "category": ["electronics", "cosmetics"], "currency": "EUR", "items": 3}
_WARM_UP = 200


async def _measure(url: str, requests: int) -> float:
    async with AsyncGameball("key", base_url=url, rate=None) as gameball:
        await _send(gameball, "warm-up", _WARM_UP)
        begun = time.process_time()
        await _send(gameball, "player", requests)
        return 1e6 * (time.process_time() - begun) / requests


async def _send(gameball: AsyncGameball, player: str, requests: int) -> None:
    for number in range(requests):
        await gameball.track(f"{player}{number}", "place_order", _METADATA)
        if not number % 20:
            await anyio.lowlevel.checkpoint()
    await gameball.flush()


def _main() -> None:
    runtime, url, requests = sys.argv[1], sys.argv[2], int(sys.argv[3])
    backend, options = ("trio", {}) if runtime == "trio" else ("asyncio", {"use_uvloop": runtime == "uvloop"})
    sys.stdout.write(f"{anyio.run(_measure, url, requests, backend=backend, backend_options=options):.1f}\n")


if __name__ == "__main__":
    _main()
