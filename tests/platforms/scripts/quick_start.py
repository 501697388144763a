"""The client and the sandbox together, on both kinds of loop, then the recorder."""

import asyncio

import trio

from gameball_async import AsyncGameball, Delivered
from gameball_async.sandbox import Sandbox
from gameball_async.testing import Recorder


async def quick_start() -> None:
    with Sandbox() as sandbox:
        async with AsyncGameball("my-api-key", base_url=sandbox.url) as gameball:
            receipt = await gameball.track("player123", "place_order", {"total_amount": 100})
            await gameball.track("player123", "review")
            assert isinstance(await receipt, Delivered)
        assert [event.name for event in sandbox.holdings()["player123"]] == ["place_order", "review"]
        assert sandbox.violations == []
    async with Recorder() as recorder:
        await recorder.track("player123", "review")
    recorder.assert_tracked("player123", "review")


asyncio.run(quick_start())
trio.run(quick_start)
print("delivered")
