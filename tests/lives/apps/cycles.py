"""A process that starts and closes a client so many times, and says what that left behind, in JSON."""

from __future__ import annotations

import gc
import json
import sys
import threading
from functools import partial
from pathlib import Path

from . import book

WARM_UP = 400
"""Cycles after which caches are full: until then about 200 blocks come together, and in as many again about 20."""


def possessions() -> dict[str, int]:
    """What a process can leak, counted: blocks of memory, tasks, threads, open files."""
    for _ in range(3):
        gc.collect()
    return {
        "blocks": sys.getallocatedblocks(),
        "tasks": book.tasks(),
        "threads": threading.active_count(),
        "files": len(list(Path("/dev/fd").iterdir())),
    }


async def cycle(number: int) -> None:
    gameball = book.client()
    await gameball.start()
    for player in range(3):
        await gameball.track(f"player{player}", *book.event(number))
    await gameball.aclose()
    assert gameball.stats().delivered == 3, gameball.stats()


async def main(cycles: int) -> None:
    for number in range(WARM_UP):
        await cycle(number)
    before = possessions()
    for number in range(WARM_UP, WARM_UP + cycles):
        await cycle(number)
    book.say(json.dumps({"before": before, "after": possessions()}))


book.run(partial(main, int(sys.argv[1])))
