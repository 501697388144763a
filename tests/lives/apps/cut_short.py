"""A worker that is interrupted twice, and does nothing about it: `async with` and `on_failure` are all it has."""

from __future__ import annotations

import threading
import time

import anyio

from gameball_async import AsyncGameball, DeliveryError, Event

from . import book


def on_failure(event: Event, error: DeliveryError) -> None:
    book.say(f"failed {event.metadata['number']} {type(error).__name__}")


def tell_of_the_close(gameball: AsyncGameball) -> None:
    """Print it once the client is closing; in a thread, where no interrupt is raised."""
    while "closing" not in repr(gameball):
        time.sleep(0.001)
    book.say("closing")


async def main() -> None:
    gameball = book.client(on_failure=on_failure)
    threading.Thread(target=tell_of_the_close, args=(gameball,), daemon=True).start()
    async with gameball:
        for number in range(30):
            await gameball.track(f"player{number}", *book.event(number))
        book.say("waiting")
        await anyio.sleep_forever()


book.run(main)
