"""A journal: events that one client leaves are sent by the next one, refused ones are kept, damaged files set aside."""

import asyncio
import sys
from pathlib import Path

from gameball_async import AsyncGameball, DeadLetters, Journal, JournalError, inspect_journal
from gameball_async.sandbox import Fault, Sandbox


async def leave_behind(folder: Path) -> None:
    gameball = AsyncGameball("my-api-key", base_url="http://127.0.0.1:1", journal=folder)
    await gameball.start()
    await gameball.track("player123", "place_order", {"total_amount": 100})
    [file] = inspect_journal(folder)
    assert file.is_in_use
    assert file.owner_pid
    await gameball.aclose(timeout=0)


async def send_on(folder: Path) -> int:
    with Sandbox() as sandbox:
        sandbox.script(Fault.status(400, events={"review"}))
        async with AsyncGameball("my-api-key", base_url=sandbox.url, journal=Journal(folder, adopt="any")) as gameball:
            await gameball.track("player456", "review")
            await gameball.flush()
        return sandbox.stats().events


def resume(folder: Path) -> None:
    [left] = inspect_journal(folder)
    assert (left.is_in_use, left.pending, left.players) == (False, 1, 1), left
    assert asyncio.run(send_on(folder)) == 1
    assert inspect_journal(folder) == []
    assert len(DeadLetters(folder)) == 1
    assert {path.name for path in folder.iterdir()} <= {"dead-letters.db", "folder.lock"}


def set_damaged_files_aside(folder: Path) -> None:
    asyncio.run(leave_behind(folder))
    [journal] = folder.glob("*.journal")
    journal.write_bytes(b"damaged" * 1000)
    (folder / "dead-letters.db").write_bytes(b"damaged" * 1000)
    asyncio.run(send_on(folder))
    assert len(DeadLetters(folder)) == 1
    assert (folder / "dead-letters.db.damaged").exists()
    assert list(folder.glob("*.journal.damaged"))


folder = Path(sys.argv[1])
try:
    asyncio.run(leave_behind(folder))
except JournalError as error:
    print(error)
    sys.exit(3)
resume(folder)
set_damaged_files_aside(folder)
print("done")
