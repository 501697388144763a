"""A receipt can be awaited where its client lives and as long as it works; everywhere else it says so at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from gameball_async import Batching, LifecycleError, NotStarted, Receipt, Rejected, WrongLoop
from gameball_async.sandbox import Fault, Sandbox

from .support import client, until

pytestmark = pytest.mark.anyio

LINGERING = Batching(linger=3600)


async def elsewhere(call: Callable[[], Awaitable[object]], loop: str) -> None:
    """Await something in a loop of another thread."""

    async def wait() -> None:
        await call()

    def run() -> None:
        if loop == "uvloop":
            anyio.run(wait, backend_options={"use_uvloop": True})
        else:
            anyio.run(wait, backend=loop)

    await anyio.to_thread.run_sync(run)


async def awaited(receipt: Receipt) -> object:
    return await receipt


@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
@pytest.mark.parametrize("has_journal", [False, True], ids=["in memory", "with a journal"])
async def test_in_another_loop_a_receipt_says_so_at_once(
    loop: str, *, has_journal: bool, sandbox: Sandbox, tmp_path: Path
) -> None:
    gameball = client(sandbox, batching=LINGERING, journal=tmp_path if has_journal else None)
    async with gameball:
        receipts = [await gameball.track("player", "event"), gameball.track_nowait("player", "too")]
        for receipt in receipts:
            with pytest.raises(WrongLoop, match="await the receipt in that loop"):
                await elsewhere(partial(awaited, receipt), loop)
            assert not receipt.done
        await gameball.flush()
        assert [(await receipt).status for receipt in receipts] == [200, 200]


async def test_an_event_of_a_split_request_belongs_to_its_loop_as_well(sandbox: Sandbox) -> None:
    sandbox.script(Fault.status(422, code=3003, events={"bad"}), Fault.hang(events={"worse"}))
    async with client(sandbox) as gameball:
        receipts = {name: await gameball.track("player", name) for name in ("bad", "worse")}
        with pytest.raises(Rejected):
            await receipts["bad"]
        with pytest.raises(WrongLoop):
            await elsewhere(lambda: awaited(receipts["worse"]), "asyncio")
        await gameball.aclose(timeout=0)


async def test_a_known_outcome_can_be_awaited_in_any_loop(sandbox: Sandbox) -> None:
    async with client(sandbox) as gameball:
        receipt = await gameball.track("player", "event")
        await receipt
    await elsewhere(lambda: awaited(receipt), "asyncio")
    await elsewhere(lambda: awaited(receipt), "trio")


async def test_every_call_that_waits_is_refused_in_another_loop(sandbox: Sandbox) -> None:
    async with client(sandbox) as gameball:
        calls: list[Callable[[], Awaitable[object]]] = [
            gameball.start,
            gameball.run,
            gameball.flush,
            gameball.aclose,
            lambda: gameball.track("player", "event"),
            lambda: gameball.send("player", {"event": None}),
        ]
        for loop in ("asyncio", "trio"):
            for call in calls:
                with pytest.raises(WrongLoop):
                    await elsewhere(call, loop)
        assert gameball.stats().accepted == 0


async def test_from_any_thread_a_receipt_tells_whether_it_is_done_and_durable(sandbox: Sandbox, tmp_path: Path) -> None:
    async with client(sandbox, batching=LINGERING, journal=tmp_path) as gameball:
        receipt = await gameball.track("player", "event")
        assert await anyio.to_thread.run_sync(lambda: (receipt.done, receipt.durable)) == (False, True)


async def test_before_the_start_a_receipt_says_so_at_once_and_works_afterwards(sandbox: Sandbox) -> None:
    gameball = client(sandbox, batching=LINGERING)
    receipts = [gameball.track_nowait("player", "early"), await gameball.track("player", "too")]
    for receipt in receipts:
        with pytest.raises(NotStarted, match="await start"):
            await receipt
    async with gameball:
        await gameball.flush()
        assert [(await receipt).status for receipt in receipts] == [200, 200]


async def test_the_receipt_of_a_client_that_never_started_gets_its_outcome_by_the_close(sandbox: Sandbox) -> None:
    gameball = client(sandbox)
    receipt = gameball.track_nowait("player", "early")
    statuses: list[int] = []

    async def wait() -> None:
        await until(lambda: "closing" in repr(gameball))
        statuses.append((await receipt).status)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await gameball.aclose()
    assert statuses == [200]


async def test_after_the_loop_of_a_client_has_ended_its_receipts_do_not_hang(
    sandbox: Sandbox, anyio_backend_name: str
) -> None:
    gameball = client(sandbox, batching=LINGERING)
    receipts: list[Receipt] = []

    async def live() -> None:
        await gameball.start()
        receipts.append(await gameball.track("player", "event"))

    await anyio.to_thread.run_sync(lambda: anyio.run(live, backend=anyio_backend_name))
    with pytest.raises(LifecycleError):
        await receipts[0]
    await gameball.aclose()
    assert (await receipts[0]).status == 200
