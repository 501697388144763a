"""A small service to be looked at from outside by strace: it says on a descriptor of its own what was acknowledged."""

from __future__ import annotations

import math
import os
import sys

import anyio

from gameball_async import AsyncGameball, Batching, Retry

EVENTS = 6
PLAYERS = 4


LATER = 1000
"""The first number of a second life; those of the first one begin with 0."""


def marker(number: int) -> str:
    """What every event carries, so that it is found in whatever is written."""
    return f"marker-{number:06d}."


def placed(player: int, first: int) -> list[int]:
    """The numbers of a player's events, in order."""
    return list(range(first + player * EVENTS, first + (player + 1) * EVENTS))


def name_of(number: int) -> str:
    """Which event it is; the sandbox is to refuse one in ten."""
    return "guilty" if number % 10 == 7 else f"event{number % 3}"


async def _main(url: str, folder: str, receipts: str, first: int) -> None:
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
        for number in placed(player, first):
            os.write(book, f"placed {marker(number)}\n".encode())
            await gameball.track(f"player{player}", name_of(number), {"marker": marker(number)})
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
    anyio.run(_main, sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
