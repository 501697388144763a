"""A small service to be looked at from outside by strace: it says on a descriptor of its own what was acknowledged."""

from __future__ import annotations

import math
import os
import sys

import anyio

from gameball_async import AsyncGameball, Batching, Retry

PLAYERS = 4
"""In each of the two waves."""


LATER = 1000
"""The first number of a second life; those of the first one begin with 0."""


def marker(number: int) -> str:
    """What every event carries, so that it is found in whatever is written."""
    return f"marker-{number:06d}."


def placed(player: int, first: int, events: int) -> list[int]:
    """The numbers of a player's events, in order, if each player has so many."""
    return list(range(first + player * events, first + (player + 1) * events))


def name_of(number: int) -> str:
    """Which event it is; the sandbox is to refuse one in ten."""
    return "guilty" if number % 10 == 7 else f"event{number % 3}"


async def _main(url: str, folder: str, receipts: str, first: int, events: int, padding: int) -> None:
    """Track in two waves, the second when the first is settled."""
    book = os.open(receipts, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    gameball = AsyncGameball(
        "trace-key",
        base_url=url,
        journal=folder,
        rate=None,
        batching=Batching(linger=0.02),
        retry=Retry(initial=0.02, maximum=0.1, max_attempts=10**6, give_up_after=math.inf),
    )

    async def produce(player: int) -> None:
        for number in placed(player, first, events):
            os.write(book, f"placed {marker(number)}\n".encode())
            await gameball.track(
                f"player{player}", name_of(number), {"marker": marker(number), "padding": "." * padding}
            )
            os.write(book, f"receipt {marker(number)}\n".encode())

    async with gameball:
        async with anyio.create_task_group() as tasks:
            for player in range(PLAYERS):
                tasks.start_soon(produce, player)
        await gameball.flush()
        async with anyio.create_task_group() as tasks:
            for player in range(PLAYERS, 2 * PLAYERS):
                tasks.start_soon(produce, player)


if __name__ == "__main__":
    url, folder, receipts = sys.argv[1:4]
    first, events, padding = map(int, sys.argv[4:7])
    anyio.run(_main, url, folder, receipts, first, events, padding)
