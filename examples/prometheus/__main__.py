"""A shop that sells without end, beside a sandbox: `python -m examples.prometheus`, then look at its /metrics."""

from __future__ import annotations

import asyncio
import os
import signal
from types import FrameType

from prometheus_client import REGISTRY, start_http_server

from gameball_async import AsyncGameball
from gameball_async.sandbox import Sandbox

from .collector import GameballCollector


async def sell(base_url: str) -> None:
    """Track an order now and then, until SIGTERM or Ctrl-C."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def end(_number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stop.set)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)  # not loop.add_signal_handler(), which Windows lacks
    async with AsyncGameball("any-key", base_url=base_url) as gameball:
        REGISTRY.register(GameballCollector(gameball))
        server, _ = start_http_server(int(os.environ.get("PORT", "9464")), "127.0.0.1")
        print(f"metrics at http://127.0.0.1:{server.server_port}/metrics")
        while not stop.is_set():
            await gameball.track("player123", "place_order", {"total_amount": 100})
            try:
                async with asyncio.timeout(0.1):
                    await stop.wait()
            except TimeoutError:
                pass
        server.shutdown()
        server.server_close()


with Sandbox() as sandbox:
    asyncio.run(sell(sandbox.url))
