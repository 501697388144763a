"""A full buffer: wait, raise or drop, each counted and told, none of it silent."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from gameball_async import Batching, BufferFull, ClientClosed, DeliveryError, Dropped, DropReason, Event
from gameball_async.sandbox import Fault, Sandbox

from .support import assert_conserved, client, until

pytestmark = pytest.mark.anyio


async def test_wait_admits_in_order_of_arrival_as_room_is_made(sandbox: Sandbox) -> None:
    sandbox.script(Fault.latency(0.02))
    admitted: list[int] = []
    async with client(sandbox, batching=Batching(buffer_events=2, linger=0, wait_timeout=30)) as gameball:

        async def produce(number: int) -> None:
            await gameball.track("player123", f"event{number}", {"number": number})
            admitted.append(number)
            assert gameball.stats().pending <= 2

        async with anyio.create_task_group() as tasks:
            for number in range(30):
                tasks.start_soon(produce, number)
                await checkpoint()
                assert_conserved(gameball.stats())
    assert admitted == list(range(30))
    assert [event.metadata["number"] for event in sandbox.holdings()["player123"]] == list(range(30))


async def test_wait_holds_a_caller_no_longer_than_its_timeout(sandbox: Sandbox) -> None:
    sandbox.script(Fault.hang())
    async with client(sandbox, batching=Batching(buffer_events=1, linger=0, wait_timeout=0.1)) as gameball:
        await gameball.track("player123", "first")
        started = anyio.current_time()
        with pytest.raises(BufferFull, match="1 of 1 events"):
            await gameball.track("player123", "second")
        assert 0.09 < anyio.current_time() - started < 5
        assert gameball.stats().accepted == 1
        await gameball.aclose(timeout=0)


async def test_a_cancelled_wait_was_not_accepted_and_passes_its_turn_on(sandbox: Sandbox) -> None:
    sandbox.script(Fault.hang(events={"first"}))
    async with client(sandbox, batching=Batching(buffer_events=1, linger=0, wait_timeout=30), timeout=0.3) as gameball:
        await gameball.track("player123", "first")
        second = anyio.CancelScope()

        async def cancelled() -> None:
            with second:
                await gameball.track("player123", "cancelled")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cancelled)
            await checkpoint()
            tasks.start_soon(gameball.track, "other", "third")
            await checkpoint()
            second.cancel()
            await checkpoint()
            sandbox.script()
        await gameball.flush()
        assert gameball.stats().accepted == 2
    assert [event.name for event in sandbox.holdings()["other"]] == ["third"]
    assert {event.name for event in sandbox.holdings()["player123"]} == {"first"}


async def test_raise_and_nowait_raise_at_once(sandbox: Sandbox) -> None:
    sandbox.script(Fault.hang())
    async with client(sandbox, batching=Batching(buffer_events=1, linger=0, when_full="raise")) as gameball:
        await gameball.track("player123", "first")
        with pytest.raises(BufferFull):
            await gameball.track("player123", "second")
        with pytest.raises(BufferFull):
            gameball.track_nowait("player123", "third")
        with pytest.raises(BufferFull):
            await gameball.send("player123", {"fourth": None})
        assert gameball.stats().accepted == 1
        await gameball.aclose(timeout=0)


async def test_nowait_does_not_overtake_those_who_wait(sandbox: Sandbox) -> None:
    sandbox.script(Fault.hang(events={"first"}))
    async with client(sandbox, batching=Batching(buffer_events=1, linger=0), timeout=0.3) as gameball:
        first = await gameball.track("player123", "first")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(gameball.track, "player123", "second")
            await checkpoint()
            sandbox.script()
            await until(lambda: first.done)
            with pytest.raises(BufferFull):
                gameball.track_nowait("player123", "third")
        await gameball.flush()
    assert [event.name for event in sandbox.holdings()["player123"]] == ["first", "second"]


async def test_drop_oldest_gives_up_the_oldest_event_that_is_not_being_sent(sandbox: Sandbox) -> None:
    sandbox.script(Fault.hang(times=1))
    failed: list[tuple[Event, DeliveryError]] = []

    def on_failure(event: Event, error: DeliveryError) -> None:
        failed.append((event, error))

    batching = Batching(buffer_events=4, linger=0, when_full="drop_oldest")
    async with client(sandbox, batching=batching, timeout=0.3, on_failure=on_failure) as gameball:
        await gameball.track("player123", "in_flight")
        await until(lambda: gameball.stats().in_flight)
        receipts = {
            name: await gameball.track("player123", name, {"name": name})
            for name in ("oldest", "older", "old", "new", "newest")
        }
        for name in ("oldest", "older"):
            with pytest.raises(Dropped, match="drop_oldest") as caught:
                await receipts.pop(name)
            assert caught.value.reason is DropReason.BUFFER_FULL
        assert_conserved(gameball.stats())
        await gameball.flush()
        for receipt in receipts.values():
            await receipt
        assert gameball.stats().dropped == 2
    assert [(event.name, event.metadata) for event, _ in failed] == [
        ("oldest", {"name": "oldest"}),
        ("older", {"name": "older"}),
    ]
    assert [event.name for event in sandbox.holdings()["player123"]] == ["in_flight", "old", "new", "newest"]


async def test_drop_newest_accepts_counts_and_drops_the_event_at_hand(sandbox: Sandbox) -> None:
    sandbox.script(Fault.hang(times=1))
    failed: list[str] = []
    batching = Batching(buffer_events=1, linger=0, when_full="drop_newest")
    async with client(
        sandbox, batching=batching, timeout=0.3, on_failure=lambda event, _: failed.append(event.name)
    ) as gameball:
        await gameball.track("player123", "kept")
        receipt = await gameball.track("player123", "dropped", {"x": 1})
        assert receipt.done
        with pytest.raises(Dropped, match="drop_newest"):
            await receipt
        assert (gameball.stats().accepted, gameball.stats().dropped) == (2, 1)
        assert_conserved(gameball.stats())
    assert failed == ["dropped"]
    assert [event.name for event in sandbox.holdings()["player123"]] == ["kept"]


async def test_closing_wakes_those_who_wait(sandbox: Sandbox) -> None:
    sandbox.script(Fault.hang())
    gameball = client(sandbox, batching=Batching(buffer_events=1, linger=0, wait_timeout=30))
    await gameball.start()
    await gameball.track("player123", "first")
    refused: list[str] = []

    async def wait(name: str) -> None:
        with pytest.raises(ClientClosed):
            await gameball.track("player123", name)
        refused.append(name)

    async with anyio.create_task_group() as tasks:
        for name in ("second", "third", "fourth"):
            tasks.start_soon(wait, name)
        await checkpoint()
        await gameball.aclose(timeout=0.05)
    assert sorted(refused) == ["fourth", "second", "third"]
    assert gameball.stats().accepted == 1
    assert_conserved(gameball.stats())


async def test_the_buffer_is_bounded_in_bytes_too(sandbox: Sandbox) -> None:
    sandbox.script(Fault.hang())
    batching = Batching(max_bytes=1000, buffer_bytes=2000, linger=0, when_full="raise")
    async with client(sandbox, batching=batching) as gameball:
        for number in range(2):
            await gameball.track(f"player{number}", "event", {"text": "x" * 800})
        with pytest.raises(BufferFull, match="of 2,000 bytes"):
            await gameball.track("player123", "event", {"text": "x" * 800})
        assert gameball.stats().buffered_bytes <= 2000
        await gameball.aclose(timeout=0)
