"""A journal's file and its dead letters are damaged while no client runs: both are set aside, and fresh ones begun."""

import asyncio
import sys
from pathlib import Path

from gameball_async import AsyncGameball, DeadLetters
from gameball_async.sandbox import Fault, Sandbox

FOLDER = Path(sys.argv[1])


async def leave_behind() -> None:
    gameball = AsyncGameball("my-api-key", base_url="http://127.0.0.1:1", journal=FOLDER)
    await gameball.start()
    await gameball.track("player123", "place_order", {"total_amount": 100})
    await gameball.aclose(timeout=0)


async def send_on() -> None:
    with Sandbox() as sandbox:
        sandbox.script(Fault.status(400, events={"review"}))
        async with AsyncGameball("my-api-key", base_url=sandbox.url, journal=FOLDER) as gameball:
            await gameball.track("player456", "review")
            await gameball.flush()


asyncio.run(leave_behind())
[journal] = FOLDER.glob("*.journal")
journal.write_bytes(b"damaged" * 1000)
(FOLDER / "dead-letters.db").write_bytes(b"damaged" * 1000)
asyncio.run(send_on())
print(len(DeadLetters(FOLDER)), len(list(FOLDER.glob("dead-letters.db.damaged"))))
