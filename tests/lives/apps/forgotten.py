"""A script that never closes its client."""

from __future__ import annotations

import asyncio

from . import book


async def main() -> None:
    gameball = book.client()
    await gameball.start()
    for number in range(3):
        await gameball.track("player123", *book.event(number))
        book.accepted("player123", number)


asyncio.run(main())
