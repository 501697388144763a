"""A journal: events that one client leaves are sent by the next one, and what Gameball refuses is kept."""

import asyncio
import sys
from pathlib import Path

from gameball_async import AsyncGameball, DeadLetters, JournalError, inspect_journal
from gameball_async.sandbox import Fault, Sandbox

FOLDER = Path(sys.argv[1])


async def leave_behind() -> None:
    gameball = AsyncGameball("my-api-key", base_url="http://127.0.0.1:1", journal=FOLDER)
    await gameball.start()
    await gameball.track("player123", "place_order", {"total_amount": 100})
    [file] = inspect_journal(FOLDER)
    assert file.is_in_use
    assert file.owner_pid
    await gameball.aclose(timeout=0)


async def send_on() -> None:
    with Sandbox() as sandbox:
        sandbox.script(Fault.status(400, events={"review"}))
        async with AsyncGameball("my-api-key", base_url=sandbox.url, journal=FOLDER) as gameball:
            await gameball.track("player456", "review")
            await gameball.flush()
        assert sandbox.stats().events == 1


try:
    asyncio.run(leave_behind())
except JournalError as error:
    print(error)
    sys.exit(3)
[left] = inspect_journal(FOLDER)
assert (left.is_in_use, left.pending, left.players) == (False, 1, 1), left
asyncio.run(send_on())
assert inspect_journal(FOLDER) == []
print(len(DeadLetters(FOLDER)), sorted(path.name for path in FOLDER.iterdir()))
