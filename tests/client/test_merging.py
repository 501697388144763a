"""How events become requests: merged per player, no name twice, in order."""

from __future__ import annotations

import pytest

from gameball_async import Batching, Delivered, DeliveryError, Event, Rejected
from gameball_async.sandbox import Fault, Sandbox

from .support import assert_conserved, client, until

pytestmark = pytest.mark.anyio

HOUR = Batching(linger=3600)


def sent(sandbox: Sandbox, player: str = "player123") -> list[tuple[str, ...]]:
    """The names in each applied request of a player."""
    return [request.events for request in sandbox.requests if request.player == player and request.applied]


async def test_different_names_of_one_player_travel_in_one_request(sandbox: Sandbox) -> None:
    async with client(sandbox) as gameball:
        receipt = await gameball.track(
            "player123", "place_order", {"total_amount": 100, "category": ["electronics", "cosmetics"]}
        )
        await gameball.track("player123", "review")
        assert await receipt == Delivered(status=200)
    assert sent(sandbox) == [("place_order", "review")]
    assert [event.metadata for event in sandbox.holdings()["player123"]] == [
        {"total_amount": 100, "category": ["electronics", "cosmetics"]},
        {},
    ]


async def test_a_repeated_name_opens_the_next_request_and_keeps_the_order(sandbox: Sandbox) -> None:
    async with client(sandbox, batching=HOUR) as gameball:
        for name in ("a", "b", "a", "c", "a"):
            await gameball.track("player123", name)
        await gameball.flush()
    assert sent(sandbox) == [("a", "b"), ("a", "c"), ("a",)]


async def test_a_batch_merges_on_while_a_pause_holds_it_back(sandbox: Sandbox) -> None:
    sandbox.script(Fault.status(429, retry_after=0.3, times=1))
    async with client(sandbox) as gameball:
        first = await gameball.track("other", "first")
        await until(lambda: gameball.stats().paused_until)
        for number in range(20):
            await gameball.track("player123", f"event{number}")
        await first
    assert sent(sandbox) == [tuple(f"event{number}" for number in range(20))]


async def test_a_full_batch_goes_at_once(sandbox: Sandbox) -> None:
    async with client(sandbox, batching=Batching(linger=3600, max_events=3)) as gameball:
        receipts = [await gameball.track("player123", f"event{number}") for number in range(4)]
        await receipts[2]
        assert not receipts[3].done
    assert sent(sandbox) == [("event0", "event1", "event2"), ("event3",)]


async def test_different_contacts_travel_apart_and_equal_or_absent_ones_together(sandbox: Sandbox) -> None:
    async with client(sandbox, batching=HOUR) as gameball:
        await gameball.track("player123", "a")
        await gameball.track("player123", "b", mobile="+1234567")
        await gameball.track("player123", "c", email="jon.snow@example.com")
        await gameball.track("player123", "d", mobile="+7654321")
        await gameball.flush()
    assert sent(sandbox) == [("a", "b", "c"), ("d",)]
    assert {event.mobile for event in sandbox.holdings()["player123"][:3]} == {"+1234567"}


async def test_send_goes_past_the_linger_but_not_past_the_players_order(sandbox: Sandbox) -> None:
    async with client(sandbox, batching=HOUR) as gameball:
        await gameball.track("player123", "earlier")
        delivered = await gameball.send("player123", {"now": {"rooms": 2}, "too": None})
        assert delivered == Delivered(status=200)
        later = await gameball.track("player123", "later")
        assert not later.done
    assert sent(sandbox) == [("earlier",), ("now", "too"), ("later",)]


async def test_send_waits_for_all_of_its_events_before_it_raises(sandbox: Sandbox) -> None:
    sandbox.script(Fault.status(422, code=3001, events={"guilty"}))
    async with client(sandbox) as gameball:
        with pytest.raises(Rejected):
            await gameball.send("player123", {"guilty": None, "a": None, "b": None, "c": None})
        assert gameball.stats().pending == 0
        assert gameball.stats().delivered == 3


async def test_a_refused_batch_is_split_until_the_guilty_event_stands_alone(sandbox: Sandbox) -> None:
    sandbox.script(Fault.status(422, code=3001, words="value is null", events={"guilty"}))
    names = ["a", "b", "guilty", "c", "d", "e", "f"]
    failures: list[tuple[str, str]] = []

    def on_failure(event: Event, error: DeliveryError) -> None:
        failures.append((event.name, str(error)))

    async with client(sandbox, batching=HOUR, on_failure=on_failure) as gameball:
        receipts = {name: await gameball.track("player123", name) for name in names}
        await gameball.flush()
        with pytest.raises(Rejected, match="value is null") as caught:
            await receipts.pop("guilty")
        for receipt in receipts.values():
            assert (await receipt).status == 200
        stats = gameball.stats()
    assert (caught.value.status, caught.value.code) == (422, 3001)
    assert (stats.delivered, stats.rejected) == (6, 1)
    assert_conserved(stats)
    assert [event.name for event in sandbox.holdings()["player123"]] == ["a", "b", "c", "d", "e", "f"]
    assert [name for name, _ in failures] == ["guilty"]


async def test_a_batch_that_keeps_drawing_500_while_others_succeed_is_split_too(sandbox: Sandbox) -> None:
    sandbox.script(Fault.status(500, code=5000, words="poison", events={"guilty"}))
    async with client(sandbox) as gameball:
        guilty = [await gameball.track("player123", name) for name in ("a", "guilty", "b")]
        while not guilty[1].done:
            await gameball.send("other", {"fine": None})
        with pytest.raises(Rejected, match="poison"):
            await guilty[1]
        assert (await guilty[0]).status == (await guilty[2]).status == 200
        assert_conserved(gameball.stats())
    assert [event.name for event in sandbox.holdings()["player123"]] == ["a", "b"]
    assert sandbox.violations == []
