"""A worker whose pool of threads tracks until the client closes under its hands."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from gameball_async import AsyncGameball, LifecycleError

from . import book


def track_until_closed(gameball: AsyncGameball, player: str) -> int:
    """Track one event after another; returns how many were accepted."""
    for number in range(100_000):
        try:
            gameball.track_threadsafe(player, *book.event(number))
        except LifecycleError:
            return number
        book.accepted(player, number)
    raise AssertionError("the client was never closed")


async def main() -> None:
    gameball = book.client()
    await gameball.start()
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(8) as pool:
        threads = [loop.run_in_executor(pool, track_until_closed, gameball, f"player{number}") for number in range(8)]
        while gameball.stats().delivered < 200:  # noqa: ASYNC110 what a service would look at
            await asyncio.sleep(0.01)
        book.closed(await gameball.aclose(book.CLOSE_TIMEOUT), gameball.stats())
        counts = await asyncio.gather(*threads)
    assert sum(counts) == gameball.stats().accepted


asyncio.run(main())
