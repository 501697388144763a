"""One measurement of `benchmarks.request`: a process with the client of the source tree that PYTHONPATH names.

It prints the microseconds of processor time, user and system, of one request with one event, from call to outcome; or,
as `steps`, how many steps of the event loop that take more than half a millisecond of it there are for each request.
"""

from __future__ import annotations

import asyncio
import sys
import time

import anyio
import anyio.lowlevel

from gameball_async import AsyncGameball, Metadata

_METADATA: Metadata = {"total_amount": 100, "category": ["electronics", "cosmetics"], "currency": "EUR", "items": 3}
_WARM_UP = 200
_LONG_STEP = 0.0005


async def _measure(url: str, requests: int) -> float:
    async with AsyncGameball("key", base_url=url, rate=None) as gameball:
        await _send(gameball, "warm-up", _WARM_UP)
        begun = time.process_time()
        await _send(gameball, "player", requests)
        return 1e6 * (time.process_time() - begun) / requests


async def _measure_steps(url: str, requests: int) -> float:
    async with AsyncGameball("key", base_url=url, rate=None) as gameball:
        await _send(gameball, "warm-up", _WARM_UP)
        long_steps = _note_long_steps()
        for number in range(requests):
            await gameball.track(f"player{number}", "place_order", _METADATA)
            await anyio.lowlevel.checkpoint()
        await gameball.flush()
        return len(long_steps) / requests


def _note_long_steps() -> list[float]:
    """Note the processor time of each step of the event loop from now on that takes much."""
    long_steps, run = list[float](), asyncio.Handle._run  # noqa: SLF001 what asyncio calls for each step

    def timed(handle: asyncio.Handle) -> None:
        begun = time.thread_time()
        run(handle)
        if (seconds := time.thread_time() - begun) > _LONG_STEP:
            long_steps.append(seconds)

    asyncio.Handle._run = timed  # type: ignore[assignment]  # noqa: SLF001
    return long_steps


async def _send(gameball: AsyncGameball, player: str, requests: int) -> None:
    for number in range(requests):
        await gameball.track(f"{player}{number}", "place_order", _METADATA)
        if not number % 20:
            await anyio.lowlevel.checkpoint()
    await gameball.flush()


def _main() -> None:
    runtime, url, requests, figure = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    measure = _measure_steps if figure == "steps" else _measure
    backend, options = ("trio", {}) if runtime == "trio" else ("asyncio", {"use_uvloop": runtime == "uvloop"})
    sys.stdout.write(f"{anyio.run(measure, url, requests, backend=backend, backend_options=options):.3f}\n")


if __name__ == "__main__":
    _main()
