"""A worker that starts its client in one task, tracks in others and closes it in yet another."""

from __future__ import annotations

import anyio

from . import book


async def main() -> None:
    gameball = book.client()

    async def track(player: str) -> None:
        for number in range(24):
            await gameball.track(player, *book.event(number))
            book.accepted(player, number)

    async def close() -> None:
        book.closed(await gameball.aclose(book.CLOSE_TIMEOUT), gameball.stats())

    async with anyio.create_task_group() as starting:
        starting.start_soon(gameball.start)
    async with anyio.create_task_group() as tracking:
        for player in range(10):
            tracking.start_soon(track, f"player{player}")
    async with anyio.create_task_group() as closing:
        closing.start_soon(close)


book.run(main)
