"""What every program here needs: its client, and a book of what was accepted and what was reported.

The book is a file that all processes of a life append to, a line of JSON at a time.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import httpx
import sniffio
import trio

from gameball_async import AsyncGameball, Batching, CloseReport, RateLimit, Retry, Stats
from gameball_async._engine.callbacks import OnFailure

NAMES = 8
"""Different event names: fewer than a player's events, so that batches are cut where a name comes again."""

CLOSE_TIMEOUT = float(os.environ.get("CLOSE_TIMEOUT", "10"))


def run(main: Callable[[], Awaitable[object]]) -> None:
    """Run on the loop that the environment names."""
    loop = os.environ.get("LOOP", "asyncio")
    if loop == "trio":
        anyio.run(main, backend="trio")
    else:
        anyio.run(main, backend_options={"use_uvloop": loop == "uvloop"})


def client(http_client: httpx.AsyncClient | None = None, on_failure: OnFailure | None = None) -> AsyncGameball:
    """The client, set up by the environment as a service's would be; the key comes from there too."""
    return AsyncGameball(
        http_client=http_client,
        on_failure=on_failure,
        base_url=os.environ["GAMEBALL_BASE_URL"],
        batching=Batching(
            linger=float(os.environ.get("LINGER", "0.05")),
            buffer_events=int(os.environ.get("BUFFER_EVENTS", "100000")),
            wait_timeout=60,
        ),
        retry=Retry(initial=0.02, maximum=0.2),
        rate=RateLimit(per_30_seconds=3000, share=float(os.environ.get("SHARE", "1"))),
    )


def event(number: int) -> tuple[str, dict[str, int]]:
    """Name and metadata of a player's event number so and so, in this process."""
    return f"event{number % NAMES}", {"number": number, "process": os.getpid()}


def tasks() -> int:
    """How many tasks the running loop has."""
    if sniffio.current_async_library() == "trio":
        return trio.lowlevel.current_statistics().tasks_living
    return len(asyncio.all_tasks())


def say(line: str) -> None:
    """Print a line for the test to wait for; at once, and whole."""
    os.write(1, line.encode() + b"\n")


def accepted(player: str, number: int) -> None:
    """Note that `track` has returned; called before anything else is awaited."""
    _write(kind="accepted", player=player, number=number)


def closed(report: CloseReport, stats: Stats) -> None:
    """Note what the close brought."""
    for entry in report.undelivered:
        _write(
            kind="reported",
            player=entry.event.player_unique_id,
            number=entry.event.metadata["number"],
            error=type(entry.error).__name__,
            may_have_arrived=entry.error.may_have_arrived,
        )
    settled = stats.delivered + stats.rejected + stats.dropped + stats.unknown
    _write(kind="closed", accepted=stats.accepted, settled=settled, ambiguous=stats.ambiguous)


def _write(**line: Any) -> None:
    # a single write to a file opened for appending: lines of several processes do not mix
    book = os.open(os.environ["BOOK"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(book, json.dumps({"process": os.getpid(), **line}).encode() + b"\n")
    os.close(book)
