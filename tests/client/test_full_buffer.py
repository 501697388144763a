"""A full buffer: wait, raise or drop, each counted and told, none of it silent."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from gameball_async import AsyncGameball, Batching, BufferFull, ClientClosed, DeliveryError, Dropped, DropReason, Event
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
        with pytest.raises(BufferFull, match="1 of 1 event,"):
            await gameball.track("player123", "second")
        assert 0.09 < anyio.current_time() - started < 60
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
    batching = Batching(max_bytes=1000, buffer_bytes=3000, linger=0, when_full="raise")
    async with client(sandbox, batching=batching) as gameball:
        for number in range(2):
            await gameball.track(f"player{number}", "event", {"text": "x" * 800})
        with pytest.raises(BufferFull, match="of 3,000 bytes"):
            await gameball.track("player123", "event", {"text": "x" * 800})
        assert gameball.stats().buffered_bytes <= 3000
        await gameball.aclose(timeout=0)


LONG = 100_000
MEBIBYTE = 2**20

LARGE_EVENTS: dict[str, Callable[[int], tuple[tuple[Any, ...], dict[str, Any]]]] = {
    "ids": lambda number: ((f"{number:0{LONG}}", "event"), {}),
    "ids that are not ASCII": lambda number: (("é" * LONG + str(number), "event"), {}),
    "names": lambda number: ((f"player{number}", f"{number:0{LONG}}"), {}),
    "names of one player": lambda number: (("player123", f"{number:0{LONG}}"), {}),
    "mobile numbers": lambda number: ((f"player{number}", "event"), {"mobile": f"{number:0{LONG}}"}),
    "e-mail addresses": lambda number: ((f"player{number}", "event"), {"email": f"{number:0{LONG}}"}),
    "values": lambda number: ((f"player{number}", "event", {"text": f"{number:0{LONG}}"}), {}),
    "keys": lambda number: ((f"player{number}", "event", {f"{number:0{LONG}}": 1}), {}),
    "small events": lambda number: ((f"player{number}", "event"), {}),
    "small events of one player": lambda number: (("player123", f"event{number}"), {}),
    "small events of one name": lambda _: (("player123", "event"), {}),
}


def track_one(gameball: AsyncGameball, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Keep nothing of the event, nor of the error."""
    with suppress(BufferFull):
        gameball.track_nowait(*args, **kwargs)


@contextmanager
def growth() -> Generator[Callable[[], int]]:
    """Bytes that were allocated since, and are still held."""
    gc.collect()
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", LARGE_EVENTS)
@pytest.mark.parametrize("when_full", ["raise", "drop_oldest", "drop_newest"])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # nothing runs before the close
async def test_the_memory_that_a_full_buffer_holds_is_near_its_limit(when_full: Any, kind: str) -> None:
    """It counts everything that it holds; beside that there are only the objects of the client."""
    gameball = AsyncGameball(
        "test-key", batching=Batching(buffer_bytes=MEBIBYTE, max_bytes=MEBIBYTE, when_full=when_full)
    )
    make = LARGE_EVENTS[kind]
    events = 3_000 if kind.startswith("small") else 100
    with growth() as held:
        for number in range(events):
            track_one(gameball, *make(number))
        stats = gameball.stats()
        assert stats.buffered_events < events
        assert MEBIBYTE // 2 < stats.buffered_bytes <= MEBIBYTE
        gc.collect()
        assert held() < 2.5 * MEBIBYTE
    report = await gameball.aclose(timeout=0)
    assert len(report.undelivered) == stats.buffered_events
    assert gameball.stats().buffered_bytes == 0


@pytest.mark.parametrize("journal", [False, True], ids=["memory", "journal"])
@pytest.mark.parametrize("kind", ["ids", "names", "mobile numbers", "e-mail addresses", "values"])
async def test_a_running_client_holds_no_more_than_its_limit(
    *, kind: str, journal: bool, sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.script(Fault.hang())
    batching = Batching(linger=0, buffer_bytes=MEBIBYTE, when_full="raise")
    async with client(sandbox, batching=batching, journal=tmp_path if journal else None) as gameball:
        for number in range(40):
            args, kwargs = LARGE_EVENTS[kind](number)
            with suppress(BufferFull):
                await gameball.track(*args, **kwargs)
            with suppress(BufferFull):
                gameball.track_nowait(*args, **kwargs)
        stats = gameball.stats()
        assert 0 < stats.buffered_events < 40
        assert LONG < stats.buffered_bytes <= MEBIBYTE
        assert_conserved(stats)
        await gameball.aclose(timeout=0)


async def test_what_waits_outside_of_memory_arrives_although_it_is_large(sandbox: Sandbox, tmp_path: Path) -> None:
    batching = Batching(linger=0, buffer_bytes=MEBIBYTE, max_bytes=MEBIBYTE // 2, wait_timeout=60)
    async with client(sandbox, batching=batching, journal=tmp_path) as gameball:
        for number in range(30):
            args, kwargs = LARGE_EVENTS["ids"](number)
            await gameball.track(*args, **kwargs)
            assert gameball.stats().buffered_bytes <= MEBIBYTE
        await gameball.flush()
    assert len(sandbox.holdings()) == 30


async def test_an_empty_buffer_takes_a_request_that_is_as_large_as_a_request_may_be(sandbox: Sandbox) -> None:
    batching = Batching(linger=0, max_bytes=1000, buffer_bytes=1000, when_full="raise")
    async with client(sandbox, batching=batching) as gameball:
        for number in range(3):
            await gameball.send("player123", {"event": {"text": "x" * 850, "number": number}})
            receipt = await gameball.track("p" * 400, "event", {"text": "x" * 450})
            await receipt
    assert gameball.stats().delivered == 6


async def test_nothing_is_counted_any_more_when_everything_has_its_outcome(sandbox: Sandbox) -> None:
    sandbox.script(Fault.status(422, code=3003, words="no", events={"bad"}))
    async with client(sandbox, batching=Batching(linger=0.01)) as gameball:
        for number in range(6):
            for name in ("a", "bad", "c", "d"):
                await gameball.track(f"player{number}", name, mobile="+1234567", email="jon@example.com")
            await gameball.track(f"pläyer{number}", "a")
            await gameball.track(f"pläyer{number}", "b", mobile="+1234567")
        await gameball.flush()
        stats = gameball.stats()
        assert (stats.delivered, stats.rejected) == (30, 6)
        assert stats.buffered_bytes == 0
