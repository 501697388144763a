"""A worker that is interrupted in the middle of `async with`."""

from __future__ import annotations

import threading
import time

import anyio

from gameball_async import AsyncGameball

from . import book


def tell_of_the_close(gameball: AsyncGameball) -> None:
    """Print it once the client is closing; in a thread, where no interrupt is raised."""
    while "closing" not in repr(gameball):
        time.sleep(0.001)
    book.say("closing")


async def main() -> None:
    gameball = book.client()
    threading.Thread(target=tell_of_the_close, args=(gameball,), daemon=True).start()
    try:
        async with gameball:
            for number in range(300):
                await gameball.track(f"player{number % 30}", *book.event(number))
                book.accepted(f"player{number % 30}", number)
            book.say("waiting")
            await anyio.sleep_forever()
    finally:
        book.closed(await gameball.aclose(book.CLOSE_TIMEOUT), gameball.stats())


book.run(main)
