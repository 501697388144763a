"""A process with two loops in two threads, each with a client of its own, working at the same time."""

from __future__ import annotations

import asyncio
import threading

import uvloop

from . import book

both = threading.Barrier(2, timeout=100)


async def main(name: str) -> None:
    gameball = book.client()
    async with gameball:
        await asyncio.to_thread(both.wait)
        for number in range(200):
            player = f"{name}{number % 10}"
            await gameball.track(player, *book.event(number))
            book.accepted(player, number)
            await asyncio.sleep(0)
    book.closed(await gameball.aclose(), gameball.stats())


def live(name: str, new_loop: type[asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main(name))


threads = [
    threading.Thread(target=live, args=("asyncio", asyncio.SelectorEventLoop)),
    threading.Thread(target=live, args=("uvloop", uvloop.Loop)),
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
