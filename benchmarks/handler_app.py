"""A shop's backend in a process of its own: one FastAPI handler, which awaits its database and may track one event."""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from typing import Any

import anyio.to_thread

from gameball_async import AsyncGameball

from .peers import AsyncPosthog, OfficialCall
from .shop import METADATA

DATABASE = 0.005
"""Seconds that a handler waits for its database."""

Track = Callable[[str], Awaitable[object]]
Tracker = Callable[[str], AbstractAsyncContextManager[Track]]


@asynccontextmanager
async def _nothing(_: str) -> AsyncGenerator[Track]:
    async def track(_: str) -> None:
        pass

    yield track


@asynccontextmanager
async def _ours(url: str) -> AsyncGenerator[Track]:
    async with AsyncGameball("key", base_url=url) as gameball:
        yield lambda player: gameball.track(player, "place_order", METADATA)


@asynccontextmanager
async def _official(url: str) -> AsyncGenerator[Track]:
    peer = OfficialCall(url)

    async def track(player: str) -> None:
        peer.track(player, "place_order", METADATA)

    yield track


@asynccontextmanager
async def _official_in_thread(url: str) -> AsyncGenerator[Track]:
    peer = OfficialCall(url)

    async def track(player: str) -> None:
        await anyio.to_thread.run_sync(peer.track, player, "place_order", METADATA)

    yield track


@asynccontextmanager
async def _posthog(url: str) -> AsyncGenerator[Track]:
    peer = AsyncPosthog(url)

    async def track(player: str) -> None:
        peer.track(player, "place_order", METADATA)

    yield track
    await peer.finish()


TRACKERS: dict[str, Tracker] = {
    "nothing": _nothing,
    "gameball_async": _ours,
    "one blocking request": _official,
    "one blocking request, in a thread": _official_in_thread,
    "AsyncPosthog": _posthog,
}
"""What the handler does beside its database, by name."""


async def _serve(tracker: str, url: str) -> None:
    fastapi: Any = import_module("fastapi")
    uvicorn: Any = import_module("uvicorn")
    app = fastapi.FastAPI()
    async with TRACKERS[tracker](url) as track:

        async def order(player: str) -> dict[str, str]:
            await asyncio.sleep(DATABASE)
            await track(player)
            return {"player": player}

        app.get("/order/{player}")(order)
        listener = socket.socket(proto=socket.IPPROTO_TCP)  # without the number asyncio leaves Nagle's algorithm on
        listener.bind(("127.0.0.1", 0))
        listener.listen(1024)
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, timeout_keep_alive=600))
        await server.serve(sockets=[listener])


def main() -> None:
    """Serve until a signal."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.handler_app", description=__doc__)
    parser.add_argument("tracker", choices=TRACKERS)
    parser.add_argument("url")
    options = parser.parse_args()
    asyncio.run(_serve(options.tracker, options.url))


if __name__ == "__main__":
    main()
