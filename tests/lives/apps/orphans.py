"""A worker whose threads wait for room in a full buffer when its loop ends without a close."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import anyio

from gameball_async import AsyncGameball, LifecycleError

from . import book

THREADS = 4


def track(gameball: AsyncGameball) -> None:
    """Wait for room, and print what came of it."""
    try:
        gameball.track_threadsafe("player123", "event")
    except LifecycleError:
        book.say("told")


async def main(gameball: AsyncGameball, pool: ThreadPoolExecutor) -> None:
    await gameball.start()
    await gameball.track("player123", *book.event(0))
    before = book.tasks()
    for _ in range(THREADS):
        pool.submit(track, gameball)
    while book.tasks() < before + THREADS:  # noqa: ASYNC110 each thread waits in a task of this loop
        await anyio.sleep(0.001)


with ThreadPoolExecutor(THREADS) as pool:
    gameball = book.client()
    book.run(lambda: main(gameball, pool))
